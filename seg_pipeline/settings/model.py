"""Every setting with its default, its limits and its description."""

import datetime
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    model_validator,
)

from seg_pipeline.errors import did_you_mean
from seg_pipeline.settings.presets import read_preset

TransformName = Literal["identity", "log1p", "yeo-johnson"]


def split_words(value: object) -> object:
    """Returns the list that a string from the command line or the environment holds: JSON, or parts between commas."""
    if not isinstance(value, str):
        return value
    # A glob may begin with a bracket as well: [0-9]*.csv.
    if re.match(r"\s*\[\s*[\"\]]", value):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _mapping(value: object) -> object:
    """Returns the mapping that a string holds: JSON, or one word for all entries, {"default": word}."""
    if isinstance(value, str):
        return json.loads(value) if value.lstrip().startswith("{") else {"default": value}
    return value


def _flat(value: object) -> object:
    """Returns a mapping whose keys have dots; `b` nested in `a` becomes `a.b`. A string holds it as JSON."""
    if isinstance(value, str):
        return json.loads(value)
    if not isinstance(value, Mapping):
        return value
    flat: dict[str, object] = {}
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            inner = _flat(entry)
            flat |= {f"{key}.{name}": nested for name, nested in inner.items()} if isinstance(inner, Mapping) else {}
        else:
            flat[key] = entry
    return flat


def _delimiter(value: object) -> object:
    """Returns a delimiter. A tab has a name, because whitespace around a value on the command line is removed.

    Raises:
        ValueError: The value is neither a name nor one character.
    """
    if value in ("tab", "\\t"):
        return "\t"
    if isinstance(value, str) and value not in ("auto", "whitespace") and (len(value) != 1 or value in '"\r\n'):
        raise ValueError(f"{value!r} is neither auto, whitespace, tab nor one character")
    return value


def _locale(value: str) -> str:
    """Returns the name of a locale as Babel writes it.

    Raises:
        ValueError: There is no such locale.
    """
    if value == "en":
        return value
    # Imported late: the default does not need the library, which takes time to load.
    from babel import Locale, UnknownLocaleError

    try:
        return str(Locale.parse(value.replace("-", "_")))
    except (UnknownLocaleError, ValueError):
        raise ValueError(f"{value!r} is not a locale such as en_GB, de or fr_CH") from None


def _time_zone(value: str) -> str:
    """Returns the name of a time zone.

    Raises:
        ValueError: There is no such time zone.
    """
    try:
        return ZoneInfo(value).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is not a time zone such as UTC or Europe/Berlin") from None


def _http(value: SecretStr) -> SecretStr | None:
    """Returns an http address, without blanks around it; None for no text, which an unset variable may become.

    Raises:
        ValueError: It is not one; the message does not show it.
    """
    value = SecretStr(value.get_secret_value().strip())
    if not value.get_secret_value():
        return None
    if not re.fullmatch(r"https?://[^\s/]+\S*", value.get_secret_value(), re.IGNORECASE):
        raise ValueError("the address must begin with http:// or https://")
    return value


def _seasons(values: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the seasons, each MM-DD..MM-DD.

    Raises:
        ValueError: One of them is not.
    """
    for value in values:
        season = re.fullmatch(r"(\d\d)-(\d\d)\.\.(\d\d)-(\d\d)", value)
        try:
            first_month, first_day, last_month, last_day = map(int, season.groups() if season else ())
            # A leap year, so that 29 February is a day.
            datetime.date(2000, first_month, first_day), datetime.date(2000, last_month, last_day)
        except ValueError:
            raise ValueError(f"{value!r} is not a season such as 11-15..01-06 (MM-DD..MM-DD)") from None
    return values


Words = Annotated[tuple[str, ...], BeforeValidator(split_words)]


class Section(BaseModel):
    """A section of the settings. It is immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class SourceSettings(Section):
    """Where the order lines come from and how they are read."""

    path: Words = Field(
        (), description="Files, folders or globs to read: CSV and other delimited text (also .gz), and Parquet"
    )
    table: str | None = Field(
        None,
        description="SCHEMA.TABLE of a PostgreSQL server to read, besides files or instead of them; the server's "
        "address, postgresql://..., is in the environment variable SEG_PIPELINE_SOURCE_DATABASE, or in "
        "libpq's own variables (PGHOST, PGUSER, PGPASSWORD)",
    )
    cursor: str | None = Field(
        None,
        description="Column of source.table whose values only grow, such as an identity column, so that only new "
        "rows are pulled",
    )
    preset: str = Field(
        "generic",
        description="Name of a preset, or path of a preset file, which maps the columns of an export to those of "
        "raw_orders",
    )
    columns: Annotated[dict[str, str], BeforeValidator(_mapping)] = Field(
        {}, description="The file's column for a column of raw_orders, if the preset chooses the wrong one"
    )
    delimiter: Annotated[str, BeforeValidator(_delimiter)] = Field(
        "auto",
        description="Character between two values of a text file: auto (detected), whitespace, tab, or the "
        "character itself",
    )
    encoding: Literal["auto", "utf-8", "utf-16", "latin-1", "windows-1252"] = Field(
        "auto", description="Encoding of text files; auto follows the byte order mark, or assumes UTF-8 without one"
    )
    decimal: Literal[".", ","] = Field(
        ".", description="Decimal separator of numbers; with a comma, dots separate thousands"
    )
    date_format: str = Field(
        "auto",
        description="Format of order dates: auto (detected; an ambiguous format is an error), iso, or a strptime "
        "format",
    )
    removed_files: Literal["keep", "drop"] = Field(
        "keep",
        description="Whether to keep or drop the lines of a file that has gone from its folder; the lines of a file "
        "that source.path no longer names are always dropped",
    )
    currency: str | None = Field(None, description="Currency to keep; lines in any other currency are rejected")
    shop: str | None = Field(None, description="Shop to keep; lines of any other shop are rejected")

    _preset_file: Mapping[str, Any] | None = PrivateAttr(default=None)

    @property
    def preset_file(self) -> Mapping[str, Any]:
        """The content of the preset's file, which is read once."""
        if self._preset_file is None:
            self._preset_file = read_preset(self.preset)
        return self._preset_file

    @model_validator(mode="after")
    def _table_has_cursor(self) -> Self:
        if self.table and not self.cursor:
            raise ValueError("table needs source.cursor, the column that says which rows are new")
        return self


class WarehouseSettings(Section):
    """The DuckDB file that holds every table."""

    engine: Literal["duckdb", "spark"] = Field(
        "duckdb",
        description="Engine for order lines and features: with spark, these tables are Parquet files beside the "
        "DuckDB file, which has views of them (see the section spark)",
    )
    path: Path = Field(Path("warehouse.duckdb"), description="Path of the DuckDB file")
    memory_limit: str | None = Field(
        None,
        description="Memory limit of DuckDB, for example 4GB; half of the machine's memory if unset, or 1GB beside "
        "Spark",
    )
    threads: int | None = Field(None, ge=1, le=1_024, description="Number of DuckDB's threads; one per core if unset")
    wait_seconds: float = Field(
        60, ge=0, le=86_400, description="How long to wait for a warehouse that another process has open, in seconds"
    )


class SparkSettings(Section):
    """Where Spark runs, if warehouse.engine=spark."""

    master: str = Field(
        "local[*]", description="Master URL of the cluster; local[*] runs Spark on all cores of this machine"
    )
    remote: str | None = Field(
        None, description="Address of a Spark Connect server, sc://HOST:PORT, used instead of a master"
    )
    warehouse: Path | None = Field(
        None,
        description="Folder of the large tables, which the workers must see under the same path; if unset, the path "
        "of the DuckDB file with .spark appended",
    )
    format: Literal["parquet", "delta"] = Field(
        "parquet",
        description="Format of the large tables; with delta, each table also has a Delta Lake log beside its "
        "Parquet files, for other readers",
    )
    sample: int = Field(
        250_000,
        ge=10_000,
        le=100_000_000,
        description="Number of customers from which the coreset's cells are placed; of more, a sample of this size "
        "is drawn by the hash of their ids, to limit the driver's memory, and every customer is still "
        "counted and labelled",
    )
    config: Annotated[dict[str, str], BeforeValidator(_flat)] = Field(
        {}, description="Further Spark settings by name, such as spark.config.spark.driver.memory=8g"
    )


class OutputSettings(Section):
    """What is published for readers, beside the warehouse."""

    path: Path = Field(
        Path("published"), description="Folder of the published files; `latest` in it is the current set"
    )
    customer_ids: Literal["plain", "hashed"] = Field(
        "plain",
        description="How customer ids are published; with hashed, an id becomes its HMAC-SHA256 under the key in "
        "the environment variable SEG_PIPELINE_OUTPUT_HASH_KEY, which has at least 16 characters",
    )


class PlausibleDates(Section):
    """Order days outside this span are rejected as implausible_date."""

    earliest: datetime.date = Field(datetime.date(1990, 1, 1), description="First plausible order day")
    latest: datetime.date = Field(datetime.date(2100, 1, 1), description="Last plausible order day")


class FeatureSettings(Section):
    """Which features customers are compared by, and how their values are made comparable."""

    columns: Words = Field(
        ("recency_days", "frequency", "monetary"), min_length=1, description="Columns of rfm_features to cluster on"
    )
    transform: Annotated[dict[str, TransformName], BeforeValidator(_mapping)] = Field(
        {"default": "log1p"},
        description="Transform of all features, or of each feature: identity, log1p or yeo-johnson",
    )
    scaling: Literal["standard", "robust", "none"] = Field(
        "standard",
        description="Scaling after the transform: standard (by mean and standard deviation), robust (by median and"
        " interquartile range) or none",
    )
    clip: float = Field(
        3,
        ge=0,
        le=1_000,
        description="Number of standard deviations from the mean beyond which a transformed value counts as if it lay"
        " there, so that a few odd customers do not decide the choice; 0 for no limit",
    )
    weights: Annotated[dict[str, Annotated[float, Field(gt=0, le=1_000)]], BeforeValidator(_mapping)] = Field(
        {}, description="Weight that each feature is multiplied by after scaling; 1 if unset"
    )

    @model_validator(mode="after")
    def _names_are_features(self) -> Self:
        for setting, names in (("transform", self.transform), ("weights", self.weights)):
            for name in names:
                if name not in (*self.columns, "default"):
                    raise ValueError(f"{setting}.{name} is not in features.columns{did_you_mean(name, self.columns)}")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("columns names a feature twice")
        return self

    def transform_of(self, column: str) -> TransformName:
        """Returns the transform of a feature."""
        return self.transform.get(column, self.transform.get("default", "log1p"))

    def weight_of(self, column: str) -> float:
        """Returns the weight of a feature."""
        return self.weights.get(column, self.weights.get("default", 1.0))


class RhythmSettings(Section):
    """When a customer counts as new, active, overdue, lapsed or lost, by their own rhythm."""

    new_days: int = Field(
        60, ge=0, le=36_500, description="Days after the only order up to which a customer counts as new"
    )
    active_ratio: float = Field(
        1.5, gt=0, le=1_000, description="Silence over the usual gap up to which a customer counts as active"
    )
    overdue_ratio: float = Field(
        3, gt=0, le=1_000, description="Silence over the usual gap up to which a customer counts as overdue"
    )
    lost_share: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Share of all gaps between orders in the shop that are no longer than the silence from which a"
        " lapsed customer counts as lost",
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.overdue_ratio < self.active_ratio:
            raise ValueError(f"overdue_ratio={self.overdue_ratio:g} is below active_ratio={self.active_ratio:g}")
        return self


class ModelSettings(Section):
    """Which algorithms are fitted, and for which numbers of clusters."""

    algorithms: Words = Field(
        ("kmeans", "hierarchical", "gaussian_mixture"), min_length=1, description="Algorithms to compare"
    )
    k_min: int = Field(2, ge=2, le=50, description="Smallest number of clusters to fit")
    k_max: int = Field(10, ge=2, le=50, description="Largest number of clusters to fit")
    seed: int = Field(7, ge=0, le=2**32 - 1, description="Seed of all random numbers")
    n_init: int = Field(10, ge=1, le=1_000, description="Number of random starts of KMeans")
    bootstraps: int = Field(
        20, ge=0, le=10_000, description="Number of bootstrap samples that measure stability; 0 to leave it unmeasured"
    )
    gap_references: int = Field(
        10, ge=0, le=1_000, description="Number of reference samples for the gap statistic; 0 to leave it out"
    )
    max_cells: int = Field(
        6000, ge=100, le=20000, description="Largest number of cells in the coreset, which fits and metrics run on"
    )

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.k_max < self.k_min:
            raise ValueError(f"k_max={self.k_max} is below k_min={self.k_min}")
        return self


class SelectionSettings(Section):
    """How the model is chosen: how many segments a team can serve, which candidates are eligible, and their score."""

    k_min: int = Field(3, ge=2, le=50, description="Smallest number of segments that a team can use")
    k_max: int = Field(8, ge=2, le=50, description="Largest number of segments that a team can serve")
    smallest_share: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="Smallest share of the customers that a segment may have, unless it is large in revenue; a"
        " candidate with a smaller one is not eligible",
    )
    smallest_customers: int = Field(
        30,
        ge=1,
        le=100_000_000,
        description="Smallest number of customers that a segment may have; with fewer than twice as many buyers, all"
        " are one segment",
    )
    smallest_revenue_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of the revenue from which a segment may have fewer customers than smallest_share and "
        "smallest_customers ask for",
    )
    largest_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Largest share of the customers that a segment may have; a candidate with a larger one is not "
        "eligible",
    )
    smallest_stability: float = Field(
        0.5,
        ge=-1,
        le=1,
        description="Smallest stability (mean adjusted Rand index with bootstrap refits); a candidate below it is "
        "not eligible",
    )
    silhouette_weight: float = Field(1, ge=0, le=1_000, description="Weight of the silhouette in a candidate's score")
    explained_weight: float = Field(
        1, ge=0, le=1_000, description="Weight of the explained share in a candidate's score"
    )
    stability_weight: float = Field(1, ge=0, le=1_000, description="Weight of the stability in a candidate's score")
    value_weight: float = Field(
        1,
        ge=0,
        le=1_000,
        description="Weight of the explained share of next-period revenue in a candidate's score (see the section "
        "value)",
    )
    tolerance_errors: float = Field(
        1,
        ge=0,
        le=100,
        description="How many standard errors below the best score a candidate may be and still be preferred: one with"
        " the champion's algorithm and number of segments, then one that is worth more than the R x F grid, then fewer"
        " segments",
    )
    algorithm: str | None = Field(None, description="Algorithm to choose, whatever the scores")
    k: int | None = Field(None, ge=2, le=50, description="Number of segments to choose, whatever the scores")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.k_max < self.k_min:
            raise ValueError(f"k_max={self.k_max} is below k_min={self.k_min}")
        return self


class ValueSettings(Section):
    """The value test: segments fitted at a cutoff, compared with what the customers did from then to the night."""

    window_days: int = Field(90, ge=1, le=3_650, description="Length of the test window before the night, in days")
    bootstraps: int = Field(
        200, ge=0, le=10_000, description="Number of bootstrap samples for the intervals; 0 for no intervals"
    )
    smallest_customers: int = Field(
        100,
        ge=2,
        le=100_000_000,
        description="Smallest number of customers with a purchase before the cutoff; with fewer there is no test",
    )
    smallest_repeat_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Smallest share of these customers with a second order; with less, nearly all bought once, and"
        " there is no test",
    )


class StrategySettings(Section):
    """What to do for each segment, how the marketing budget is split, and how its effect is measured."""

    actions: Path | None = Field(
        None,
        description="TOML file of actions for segments, which replace the package's own (segments/strategies.toml) "
        "segment by segment",
    )
    budget: float | None = Field(
        None,
        ge=0,
        le=1e15,
        description="Marketing budget to split over the segments, in the shop's currency; without one nothing is split",
    )
    period_days: int = Field(
        90, ge=1, le=3_650, description="Days that the budget is for, in which contacts with a customer are counted"
    )
    headroom_weight: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Weight of headroom in a segment's claim on the budget; the rest is the weight of its revenue",
    )
    contact_cost: float = Field(
        0.5, ge=0, le=1e9, description="Cost of one contact with one customer at effort 1, in the shop's currency"
    )
    contacts: int = Field(
        12,
        ge=1,
        le=10_000,
        description="Largest number of contacts with one customer in strategies.period_days that the budget pays for",
    )
    effect: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="Rise of the share who buy within 90 days that a holdout is to measure; 0.05 is 5 percentage "
        "points",
    )
    significance: float = Field(
        0.05, gt=0, lt=1, description="Probability (two-sided) that a holdout shows an effect although there is none"
    )
    power: float = Field(0.8, ge=0.5, lt=1, description="Probability that a holdout shows the effect if there is one")
    currency: str = Field(
        "", max_length=3, description="Currency of the shop, as a symbol or ISO code, for example £ or EUR"
    )


class ReportSettings(Section):
    """How the report formats its figures."""

    locale: Annotated[str, AfterValidator(_locale)] = Field(
        "en",
        description="Locale of the report's numbers and money, for example en_GB, de or fr_CH; the text is English",
    )


class QualitySettings(Section):
    """Limits of the checks on the orders, and what a failed check shows."""

    rejected_share_warning: float = Field(
        0.3, ge=0, le=1, description="Share of rejected lines above which a check warns"
    )
    rejected_share_critical: float = Field(
        0.8, ge=0, le=1, description="Share of rejected lines above which the run stops"
    )
    last_day_gap_days: int = Field(
        90,
        ge=1,
        le=36_500,
        description="Largest gap between the last order day and the order day before it, in days; a larger gap "
        "stops the run",
    )
    show_customer_ids: bool = Field(
        False,
        description="Whether the examples of a failed check show customer ids; Dagster's event log keeps them, and the"
        " webhook receives them",
    )


class RetentionSettings(Section):
    """How long old nights and deliveries are kept."""

    nights: int = Field(
        400,
        ge=1,
        le=36_500,
        description="Age up to which the tables of a night are kept, in days; the figures behind the champion's "
        "choice are kept longer",
    )
    deliveries_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        description="Age up to which the lines of a delivery are kept, in days from its last order to the newest "
        "order that a night has counted; without end if unset",
    )
    runs: int = Field(
        400,
        ge=0,
        le=1_000_000,
        description="How many finished runs of each of the pipeline's own jobs Dagster keeps its records and logs of; "
        "0 for all",
    )


class ChampionSettings(Section):
    """When models are refitted, and when a new one takes over."""

    refit_every_days: int = Field(
        30, ge=1, le=36_500, description="Days after the champion's fit, or its last challenge, at which a refit is due"
    )
    margin: float = Field(
        0.01,
        ge=-1,
        le=10,
        description="How far the score of a new model must be above the champion's on the same night for it to take "
        "over",
    )
    smallest_overlap: float = Field(
        0.3, ge=0, le=1, description="Smallest overlap (Jaccard) at which a cluster takes over the id of a segment"
    )
    no_refit: Annotated[Words, AfterValidator(_seasons)] = Field(
        (),
        description="Seasons in which neither age nor drift makes a refit due, each from its first to its last day as"
        " MM-DD..MM-DD, for example 11-15..01-06; run --refit fits all the same",
    )


class DaySettings(Section):
    """How far an order day or a delivery may differ from what is usual in the shop.

    Distances are in standard deviations, which are learned from the shop's own days. In addition, a figure must differ
    by a factor or share that matters; docs/operations.md has these, and how often clean days are odd.
    """

    odd_beyond: float = Field(
        5, gt=0, le=1_000, description="Standard deviations from the usual value beyond which a check warns"
    )
    impossible_beyond: float = Field(
        8, gt=0, le=1_000, description="Standard deviations from the usual value beyond which the run stops"
    )


class DriftSettings(Section):
    """How far a night may differ from the champion's customers before a refit is due, and from the last night."""

    psi_warning: float = Field(
        0.2,
        ge=0,
        le=1_000,
        description="Population stability index of a feature above which a refit is due; if none comes, a check warns,"
        " as it does of the segments' shares",
    )
    restated_warning: float = Field(
        0.01,
        ge=0,
        le=1_000,
        description="Part of what the previous night said of its customers that no order, return or day since explains,"
        " above which a check warns: a share of the customers or, for monetary, of what they had bought",
    )
    restated_critical: float = Field(0.05, ge=0, le=1_000, description="The same part, above which the run stops")
    lost_customers_warning: float = Field(
        0.001,
        ge=0,
        le=1,
        description="Share of the previous night's customers who are missing above which a check warns",
    )
    lost_customers_critical: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of the previous night's customers who are missing above which the run stops",
    )


class AutomationSettings(Section):
    """The nightly schedule, and what happens when a run fails."""

    cron: str = Field(
        "0 3 * * *", description="When the nightly run starts, as a cron expression in the shop's time zone"
    )
    timezone: Annotated[str, AfterValidator(_time_zone)] = Field(
        "UTC", description="Time zone of the shop, which decides when a day ends"
    )
    fresh_within_hours: int = Field(
        30, ge=1, le=87_600, description="Age at which the UI marks a table as stale, in hours"
    )
    webhook_url: Annotated[SecretStr, AfterValidator(_http)] | None = Field(
        None,
        description="URL, http or https, to which each failed run is posted as JSON; a secret, which is read only "
        "from the environment variable SEG_PIPELINE_AUTOMATION_WEBHOOK_URL",
    )


class Settings(Section):
    """Every setting of the pipeline. The key of a setting in a section is its path with dots: `models.k_max`."""

    as_of: datetime.date | None = Field(
        None,
        description="The night to build, which counts the orders before this day; the day after the last order if "
        "unset",
    )
    returns: Literal["net", "drop", "match"] = Field(
        "net",
        description="How returns count: net reduces monetary by them; drop rejects them; match rejects a return "
        "together with the purchase it cancels (same product, price and units), and other returns "
        "reduce monetary",
    )
    duplicates: Literal["drop", "keep"] = Field(
        "drop", description="Whether to drop or keep lines that equal another line of the same order"
    )
    zero_prices: Literal["reject", "keep"] = Field(
        "reject", description="Whether to reject or keep lines whose price, or amount, is zero"
    )
    excluded_products: Words = Field(
        (),
        description="Product ids that are not goods, whose lines are rejected; * stands for any text and ? for any "
        "character",
    )
    cancellations: Words = Field(
        (),
        description="Order ids that are cancellations, for example C*; a line with a negative quantity is always a "
        "return",
    )
    plausible_dates: PlausibleDates = PlausibleDates()
    source: SourceSettings = SourceSettings()
    warehouse: WarehouseSettings = WarehouseSettings()
    spark: SparkSettings = SparkSettings()
    output: OutputSettings = OutputSettings()
    features: FeatureSettings = FeatureSettings()
    rhythm: RhythmSettings = RhythmSettings()
    models: ModelSettings = ModelSettings()
    selection: SelectionSettings = SelectionSettings()
    value: ValueSettings = ValueSettings()
    strategies: StrategySettings = StrategySettings()
    report: ReportSettings = ReportSettings()
    quality: QualitySettings = QualitySettings()
    days: DaySettings = DaySettings()
    retention: RetentionSettings = RetentionSettings()
    champions: ChampionSettings = ChampionSettings()
    drift: DriftSettings = DriftSettings()
    automation: AutomationSettings = AutomationSettings()
    # The settings that were set explicitly, without those of the preset; `with_overrides` adds to them.
    _explicit: Mapping[str, Any] = PrivateAttr(default={})

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if self.selection.k and not self.models.k_min <= self.selection.k <= self.models.k_max:
            raise ValueError(
                f"selection.k={self.selection.k} is outside models.k_min..k_max"
                f" ({self.models.k_min}..{self.models.k_max})"
            )
        return self


def keys(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Returns the key of every setting, with its dots, in the order of the classes above.

    Args:
        model: The settings, or a section of them.
        prefix: The key of that section, with a dot behind it; empty for the settings.
    """
    names: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += keys(field.annotation, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def flattened(settings: Settings) -> dict[str, Any]:
    """Returns the value of every setting by its key."""

    def value_of(key: str) -> Any:
        value: Any = settings
        for part in key.split("."):
            value = getattr(value, part)
        return value

    return {key: value_of(key) for key in keys()}
