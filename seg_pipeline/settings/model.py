"""Every setting with its default, its limits and its meaning."""

import datetime
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from seg_pipeline.errors import did_you_mean
from seg_pipeline.settings.presets import read_preset

TransformName = Literal["identity", "log1p", "yeo-johnson"]


def split_words(value: object) -> object:
    """A list from the command line or the environment: JSON, or parts between commas."""
    if not isinstance(value, str):
        return value
    # A glob may begin with a bracket as well: [0-9]*.csv.
    if re.match(r"\s*\[\s*[\"\]]", value):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _mapping(value: object) -> object:
    """A mapping from the environment: JSON. One word stands for every entry: {"default": word}."""
    if isinstance(value, str):
        return json.loads(value) if value.lstrip().startswith("{") else {"default": value}
    return value


def _flat(value: object) -> object:
    """A mapping whose keys have dots: `a.b` may have been given as b within a."""
    if isinstance(value, str):
        return json.loads(value)
    if not isinstance(value, Mapping):
        return value
    found: dict[str, object] = {}
    for key, below in value.items():
        if isinstance(below, Mapping):
            inner = _flat(below)
            found |= {f"{key}.{name}": one for name, one in inner.items()} if isinstance(inner, Mapping) else {}
        else:
            found[key] = below
    return found


def _delimiter(value: object) -> object:
    """A tab by its name, since blanks around a value on the command line are no part of it."""
    if value in ("tab", "\\t"):
        return "\t"
    if isinstance(value, str) and value not in ("auto", "whitespace") and (len(value) != 1 or value in '"\r\n'):
        raise ValueError(f"{value!r} is neither auto, whitespace, tab nor one character")
    return value


def _locale(value: str) -> str:
    if value == "en":
        return value
    # The default needs no look into the library, which the command line would wait for.
    from babel import Locale, UnknownLocaleError

    try:
        return str(Locale.parse(value.replace("-", "_")))
    except (UnknownLocaleError, ValueError):
        raise ValueError(f"{value!r} is no locale such as en_GB, de or fr_CH") from None


Words = Annotated[tuple[str, ...], BeforeValidator(split_words)]


class Section(BaseModel):
    """A group of settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class SourceSettings(Section):
    """Where the order lines come from, and how their columns are found."""

    path: Words = Field(
        (), description="Files, folders or globs to read: csv and other delimited text (also .gz), parquet"
    )
    table: str | None = Field(
        None,
        description="SCHEMA.TABLE of a PostgreSQL server, besides or in place of files; its address, postgresql://...,"
        " is in the environment variable SEG_PIPELINE_SOURCE_DATABASE, or in libpq's own (PGHOST, PGUSER, PGPASSWORD)",
    )
    cursor: str | None = Field(
        None, description="Column of source.table that only grows, such as an identity: only new rows are pulled"
    )
    preset: str = Field("generic", description="Name of a preset, or the path of a preset file")
    columns: Annotated[dict[str, str], BeforeValidator(_mapping)] = Field(
        {}, description="Column of the file for a column of raw_orders, where the preset's guess is not right"
    )
    delimiter: Annotated[str, BeforeValidator(_delimiter)] = Field(
        "auto", description="auto, whitespace, tab, or the character between two values"
    )
    encoding: Literal["auto", "utf-8", "utf-16", "latin-1", "windows-1252"] = Field(
        "auto", description="Encoding of text files; auto: what a byte order mark says, or UTF-8"
    )
    decimal: Literal[".", ","] = Field(
        ".", description="What stands before the cents; with a comma, dots are thousands"
    )
    date_format: str = Field("auto", description="auto (detected; ambiguous is an error), iso, or a strptime format")
    removed_files: Literal["keep", "drop"] = Field(
        "keep", description="Whether the lines of a file that is gone from a folder stay; one no longer named goes"
    )
    currency: str | None = Field(None, description="Of several currencies the one that counts; lines of others do not")
    shop: str | None = Field(None, description="Of several shops the one that counts; lines of others do not")

    _preset_file: Mapping[str, Any] | None = PrivateAttr(default=None)

    @property
    def preset_file(self) -> Mapping[str, Any]:
        """What the file of the preset says; it is read once."""
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
        description="spark: tables of order lines and features are made by Spark and lie as Parquet beside the file,"
        " which has views of them; see spark",
    )
    path: Path = Field(Path("warehouse.duckdb"), description="The DuckDB file")
    memory_limit: str | None = Field(
        None, description="DuckDB's memory limit, e.g. 4GB; where unset its own default, or 1GB beside Spark"
    )
    threads: int | None = Field(None, ge=1, description="DuckDB's threads; all cores where unset")
    wait_seconds: float = Field(60, ge=0, description="How long to wait for a warehouse that another process has open")


class SparkSettings(Section):
    """Where Spark runs, with warehouse.engine=spark."""

    master: str = Field("local[*]", description="Master of the cluster; local[*] is this machine, all of its cores")
    remote: str | None = Field(
        None, description="Address of a Spark Connect server, sc://HOST:PORT, in place of a master"
    )
    warehouse: Path | None = Field(
        None,
        description="Folder of the large tables, which the workers must see under the same path; beside the warehouse"
        " file, with .spark at its name, where unset",
    )
    format: Literal["parquet", "delta"] = Field(
        "parquet",
        description="delta: beside its Parquet files each large table has a log of Delta Lake, for whoever reads that",
    )
    sample: int = Field(
        250_000,
        ge=10_000,
        description="Of more customers than this a sample as large, drawn by the hash of their ids, says where the"
        " cells of the coreset are; every customer is counted in one, and labelled. It bounds the driver's memory",
    )
    config: Annotated[dict[str, str], BeforeValidator(_flat)] = Field(
        {}, description="Further settings of Spark by their names, such as spark.config.spark.driver.memory=8g"
    )


class OutputSettings(Section):
    """What readers use, beside the warehouse."""

    path: Path = Field(
        Path("published"), description="Folder of the published files; `latest` in it is the current set"
    )
    customer_ids: Literal["plain", "hashed"] = Field(
        "plain",
        description="hashed: in published files an id is its HMAC-SHA256 under the key that the environment variable"
        " SEG_PIPELINE_OUTPUT_HASH_KEY holds, 16 characters or more",
    )


class PlausibleDates(Section):
    """Order days outside this span are rejected as implausible_date."""

    earliest: datetime.date = Field(datetime.date(1990, 1, 1), description="First plausible order day")
    latest: datetime.date = Field(datetime.date(2100, 1, 1), description="Last plausible order day")


class FeatureSettings(Section):
    """What the customers are compared by."""

    columns: Words = Field(
        ("recency_days", "frequency", "monetary"), min_length=1, description="Columns of rfm_features to cluster on"
    )
    transform: Annotated[dict[str, TransformName], BeforeValidator(_mapping)] = Field(
        {"default": "log1p"}, description="Transform for all features, or per feature: identity, log1p, yeo-johnson"
    )
    scaling: Literal["standard", "robust", "none"] = Field("standard", description="Scaling after the transform")
    weights: Annotated[dict[str, Annotated[float, Field(gt=0)]], BeforeValidator(_mapping)] = Field(
        {}, description="Weight per feature after scaling; 1 where unset"
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
        return self.transform.get(column, self.transform.get("default", "log1p"))

    def weight_of(self, column: str) -> float:
        return self.weights.get(column, self.weights.get("default", 1.0))


class ModelSettings(Section):
    """Which algorithms are fitted, and for which numbers of clusters."""

    algorithms: Words = Field(
        ("kmeans", "hierarchical", "gaussian_mixture"), min_length=1, description="Algorithms to compare"
    )
    k_min: int = Field(2, ge=2, description="Smallest number of clusters fitted")
    k_max: int = Field(10, ge=2, le=50, description="Largest number of clusters fitted")
    seed: int = Field(7, ge=0, le=2**32 - 1, description="Seed of every random start")
    n_init: int = Field(10, ge=1, description="Random starts of KMeans")
    bootstraps: int = Field(20, ge=0, description="Bootstrap draws that measure stability; 0 for none")
    gap_references: int = Field(10, ge=0, description="Reference draws of the gap statistic; 0 for none")
    max_cells: int = Field(6000, ge=100, le=20000, description="Bound on the cells that fits and metrics run on")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.k_max < self.k_min:
            raise ValueError(f"k_max={self.k_max} is below k_min={self.k_min}")
        return self


class SelectionSettings(Section):
    """What a team can serve, and the gates against degenerate clusterings."""

    k_min: int = Field(3, ge=2, description="Fewest segments a team can use")
    k_max: int = Field(8, ge=2, description="Most segments a team can serve")
    smallest_share: float = Field(
        0.02, ge=0, lt=1, description="A segment smaller than this share of customers is refused"
    )
    largest_share: float = Field(
        0.75, gt=0, le=1, description="A segment larger than this share of customers is refused"
    )
    smallest_stability: float = Field(
        0.5, ge=-1, le=1, description="A candidate whose refits agree with it less (adjusted Rand index) is refused"
    )
    silhouette_weight: float = Field(1, ge=0, description="Weight of silhouette in the score")
    explained_weight: float = Field(1, ge=0, description="Weight of the explained share in the score")
    stability_weight: float = Field(1, ge=0, description="Weight of stability in the score")
    value_weight: float = Field(
        1, ge=0, description="Weight of the explained share of next-period revenue in the score (see value)"
    )
    tolerance: float = Field(
        0.015, ge=0, description="Of candidates whose score is at most this far below the best, the fewest segments win"
    )
    algorithm: str | None = Field(None, description="Force the algorithm")
    k: int | None = Field(None, ge=2, description="Force the number of segments")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.k_max < self.k_min:
            raise ValueError(f"k_max={self.k_max} is below k_min={self.k_min}")
        return self


class ValueSettings(Section):
    """The value test: segments fitted as of a cutoff, held against what the customers did from then to the night."""

    window_days: int = Field(90, ge=1, description="Days from the cutoff to the night")
    bootstraps: int = Field(200, ge=0, description="Bootstrap draws behind the intervals; 0 for none")
    smallest_customers: int = Field(100, ge=2, description="Buyers that must be known at the cutoff")


class StrategySettings(Section):
    """What is done for the segments, how the marketing budget is split over them, and how its effect is measured."""

    actions: Path | None = Field(
        None, description="TOML file of actions, laid over the package's own segment by segment; see strategies.toml"
    )
    budget: float = Field(10_000, ge=0, description="Budget to split, in the shop's currency")
    headroom_weight: float = Field(
        0.5, ge=0, le=1, description="Part of the budget that goes by headroom; the rest goes by revenue share"
    )
    contact_cost: float = Field(
        0.5, ge=0, description="Cost of one contact with one customer at effort 1, in the shop's currency"
    )
    contacts: int = Field(12, ge=1, description="Most contacts with one customer that the budget is to pay")
    effect: float = Field(
        0.05, gt=0, lt=1, description="Rise of the share who buy in 90 days that a holdout shows; 0.05 is 5 points"
    )
    significance: float = Field(
        0.05, gt=0, lt=1, description="Chance (two-sided) that a holdout shows an effect where there is none"
    )
    power: float = Field(0.8, ge=0.5, lt=1, description="Chance that a holdout shows the effect where it is there")
    currency: str = Field("", max_length=3, description="Currency of the shop, symbol or ISO code, e.g. £ or EUR")


class ReportSettings(Section):
    """How the report is written."""

    locale: Annotated[str, AfterValidator(_locale)] = Field(
        "en", description="Whose way of writing numbers the report takes, e.g. en_GB, de, fr_CH; its words are English"
    )


class QualitySettings(Section):
    """Limits of the checks between the stages."""

    rejected_share_warning: float = Field(0.3, ge=0, le=1, description="Share of rejected lines that warns")
    rejected_share_critical: float = Field(0.8, ge=0, le=1, description="Share of rejected lines that stops the run")
    last_day_gap_days: int = Field(
        90, ge=1, description="An order day alone at the end, more than this many days after all others, stops the run"
    )


class RetentionSettings(Section):
    """How long what is past is kept."""

    nights: int = Field(
        400, ge=1, description="Days for which the tables of a night are kept; those of the champion's fit stay"
    )
    deliveries_days: int | None = Field(
        None,
        ge=1,
        description="Days for which a delivery's lines are kept, from its last order to the newest; always where unset",
    )


class ChampionSettings(Section):
    """When the model is fitted anew, and when the new one takes over."""

    refit_every_days: int = Field(30, ge=1, description="A refit is due when the champion is this many days old")
    margin: float = Field(
        0.01, ge=-1, description="A refit takes over when its score is this much above the champion's on the same night"
    )
    smallest_overlap: float = Field(
        0.3, ge=0, le=1, description="A cluster takes a segment's id when they overlap (Jaccard) by this much"
    )


class DriftSettings(Section):
    """How far a night may be from what the champion was fitted on, and from the night before."""

    psi_warning: float = Field(
        0.2, ge=0, description="Population stability index of a feature, or of the segments' shares, that warns"
    )
    psi_critical: float = Field(1.0, ge=0, description="The same that stops the run")
    lost_customers_warning: float = Field(
        0.001, ge=0, le=1, description="Share of the last night's customers that are gone that warns"
    )
    lost_customers_critical: float = Field(0.05, ge=0, le=1, description="The same that stops the run")
    price_ratio_critical: float = Field(
        10, gt=1, description="The last day's median unit value over that of the weeks before, or under, that stops"
    )


class AutomationSettings(Section):
    """The nightly schedule and what happens when a run fails."""

    cron: str = Field("0 3 * * *", description="When the nightly run starts")
    timezone: str = Field("UTC", description="The shop's time zone: when its day ends")
    fresh_within_hours: int = Field(30, ge=1, description="Tables older than this are shown as stale")
    webhook_url: str | None = Field(None, description="A failed run is posted here as JSON")


class Settings(Section):
    """Every setting of the pipeline. The key of a nested one is its path with dots: `models.k_max`."""

    as_of: datetime.date | None = Field(
        None, description="The night: orders before this day count; the day after the last order where unset"
    )
    returns: Literal["net", "drop", "match"] = Field(
        "net",
        description="net: returns reduce monetary; drop: they are rejected; match: a return and the purchase it cancels"
        " (same product, price and units) are both rejected, other returns reduce monetary",
    )
    duplicates: Literal["drop", "keep"] = Field("drop", description="Lines equal to another line of the same order")
    zero_prices: Literal["reject", "keep"] = Field("reject", description="Lines whose price (or amount) is zero")
    excluded_products: Words = Field(
        (), description="Product ids that are no goods; * and ? stand for any text and character"
    )
    cancellations: Words = Field(
        (), description="Order ids that are cancellations, e.g. C*; a negative quantity always is a return"
    )
    plausible_dates: PlausibleDates = PlausibleDates()
    source: SourceSettings = SourceSettings()
    warehouse: WarehouseSettings = WarehouseSettings()
    spark: SparkSettings = SparkSettings()
    output: OutputSettings = OutputSettings()
    features: FeatureSettings = FeatureSettings()
    models: ModelSettings = ModelSettings()
    selection: SelectionSettings = SelectionSettings()
    value: ValueSettings = ValueSettings()
    strategies: StrategySettings = StrategySettings()
    report: ReportSettings = ReportSettings()
    quality: QualitySettings = QualitySettings()
    retention: RetentionSettings = RetentionSettings()
    champions: ChampionSettings = ChampionSettings()
    drift: DriftSettings = DriftSettings()
    automation: AutomationSettings = AutomationSettings()
    # What was set explicitly, before the preset's own settings; `with_overrides` lays more on top.
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
    """Every settings key with its dots, in the order of the classes above."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += keys(field.annotation, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def flattened(settings: Settings) -> dict[str, Any]:
    """Key with its dots -> value, for every setting."""

    def value_of(key: str) -> Any:
        value: Any = settings
        for part in key.split("."):
            value = getattr(value, part)
        return value

    return {key: value_of(key) for key in keys()}
