"""The plan for each segment: its actions, what was measured, its part of the budget, and the size of a holdout."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from seg_pipeline.errors import UsageError, did_you_mean
from seg_pipeline.models.coreset import FloatArray
from seg_pipeline.segments.holdout import TwoProportionTest
from seg_pipeline.segments.measurement import COLUMNS as MEASURED_COLUMNS
from seg_pipeline.segments.measurement import Measurement
from seg_pipeline.settings import Section, StrategySettings, read_toml

if TYPE_CHECKING:
    import pandas as pd

ACTIONS = Path(__file__).with_name("strategies.toml")
CENTS = 100
# The columns of segment_strategies that have no value without a budget.
BUDGET_COLUMNS = (
    "contact_cost",
    "spendable",
    "budget_share",
    "budget",
    "contacts",
    "contacts_per_customer",
    "reached_share",
    "arithmetic",
)
ACTION_COLUMNS = ("objective", "marketing", "sales", "service")
MORE_THAN_EXPECTED = (
    "The actions expect fewer of these customers to buy again than of all customers, but more of them did."
)
FEWER_THAN_EXPECTED = (
    "The actions expect more of these customers to buy again than of all customers, but fewer of them did."
)

BoolArray = npt.NDArray[np.bool_]


class Action(Section):
    """The actions for the segments of one name; strategies.toml says what `effort` and `expects` mean."""

    effort: float = Field(ge=0, le=1e6, allow_inf_nan=False)
    expects: Literal["more", "fewer"] | None = None
    objective: str = Field(min_length=1)
    marketing: str = Field(min_length=1)
    sales: str = Field(min_length=1)
    service: str = Field(min_length=1)


def read_actions(file: Path | None) -> dict[str, Action]:
    """Returns the action of every cell by its name: that of the file, or else the package's own.

    Args:
        file: A file in the format of strategies.toml; None for the package's actions alone.

    Raises:
        UsageError: The file cannot be read, names an unknown cell or key, or leaves out a key.
    """
    actions = _actions_in(ACTIONS)
    if file is None:
        return actions
    overrides = _actions_in(file)
    for name in overrides:
        if name not in actions:
            raise UsageError(f"{file}: {name}: no such segment{did_you_mean(name, actions)}")
    return actions | overrides


def advice_actions(settings: StrategySettings, customers: "pd.Series") -> "pd.DataFrame":
    """Returns the rows of advice_actions: the actions of every name.

    Args:
        settings: The shop's own file of actions if it has one.
        customers: How many customers have each advice, by name; a name without customers may be left out.

    Raises:
        UsageError: The shop's own file of actions is wrong.
    """
    import pandas as pd

    actions = read_actions(settings.actions)
    rows = [{"advice": name, **action.model_dump(include=set(ACTION_COLUMNS))} for name, action in actions.items()]
    table = pd.DataFrame(rows)
    return table.assign(customers=table["advice"].map(customers).fillna(0).astype("int64"))


def plan_strategies(profiles: "pd.DataFrame", settings: StrategySettings, measurement: Measurement) -> "pd.DataFrame":
    """Returns the rows of segment_strategies, one per row of profiles.

    Without strategies.budget nothing is split: the columns from contact_cost to arithmetic are missing, and every
    segment whose actions take effort counts as contacted.

    A segment's claim on the budget is (1 - w) times its share of revenue plus w times its share of headroom, with w
    strategies.headroom_weight, times the effort that its actions take. Negative revenue counts as zero. The budget is
    split by claims, but no segment gets more than its contacts can cost: one contact costs strategies.contact_cost
    times the effort, and each customer is contacted at most strategies.contacts times in strategies.period_days.
    Budgets are whole cents that add up to the whole budget, unless every segment has all it can spend.

    Args:
        profiles: segment_id, segment_name, grid_name, customers, revenue, headroom and active_share of each segment.
        settings: The budget, the costs, the holdout's test, and the shop's own file of actions if it has one.
        measurement: What customers of the segments did in the window before the night.

    Raises:
        UsageError: The shop's own file of actions is wrong.
    """
    import pandas as pd

    actions = read_actions(settings.actions)
    chosen = pd.DataFrame([dict(actions[name]) for name in profiles["grid_name"]], index=profiles.index)
    effort = chosen["effort"].to_numpy(dtype=np.float64)
    budgets = _without_budget(profiles) if settings.budget is None else _budgets(profiles, effort, settings)
    # Contacts that cost nothing are not counted; nor are any without a budget.
    contacted = (effort > 0) & (budgets["contacts"].isna() | (budgets["contacts"] > 0)).to_numpy(dtype=bool)
    measured = measurement.beside(profiles["segment_id"])
    return pd.concat(
        [
            profiles[["segment_id", "segment_name"]],
            chosen[list(ACTION_COLUMNS)],
            measured[[*MEASURED_COLUMNS, "unmeasured_because"]],
            _disagreements(chosen["expects"], measured).rename("disagreement"),
            profiles[["headroom"]].astype(float),
            budgets,
            _holdouts(profiles, contacted & profiles["active_share"].notna().to_numpy(), settings),
        ],
        axis="columns",
    )


def _disagreements(expects: "pd.Series", measured: "pd.DataFrame") -> "pd.Series":
    """Returns in which way each segment's actions and its measurement contradict each other; None if they do not.

    They do if the actions expect fewer of the customers to buy again than of all, but the whole interval of their
    measured repurchase rate lies above the rate of all; or if the actions expect more, and it lies below.

    Args:
        expects: What the actions of each segment expect, see strategies.toml.
        measured: What was measured of each segment.
    """
    import pandas as pd

    more = expects.eq("fewer") & (measured["repurchase_rate_low"] > measured["shop_repurchase_rate"])
    fewer = expects.eq("more") & (measured["repurchase_rate_high"] < measured["shop_repurchase_rate"])
    sentences = [
        MORE_THAN_EXPECTED if too_many else FEWER_THAN_EXPECTED if too_few else None
        for too_many, too_few in zip(more, fewer, strict=True)
    ]
    return pd.Series(sentences, index=expects.index, dtype=object)


def _without_budget(profiles: "pd.DataFrame") -> "pd.DataFrame":
    """Returns the columns from contact_cost to arithmetic of segment_strategies without a value."""
    import pandas as pd

    empty = pd.DataFrame(index=profiles.index, columns=list(BUDGET_COLUMNS), dtype=object)
    return empty.astype({"budget_share": float, "contacts": "Int64"})


def _budgets(profiles: "pd.DataFrame", effort: FloatArray, settings: StrategySettings) -> "pd.DataFrame":
    """Splits the budget and returns the columns from contact_cost to arithmetic of segment_strategies."""
    import pandas as pd

    customers = profiles["customers"].to_numpy(dtype=np.int64)
    revenue, headroom = _shares(profiles["revenue"]), _shares(profiles["headroom"])
    # If no segment has headroom, revenue decides alone.
    weight = settings.headroom_weight if headroom.any() else 0.0
    value = (1 - weight) * revenue + weight * headroom
    worthless = not (effort * value).any()
    claim = effort if worthless else effort * value
    one_contact = [_exact(settings.contact_cost) * _exact(one) for one in effort]
    most_contacts = [int(one) * settings.contacts for one in customers]
    all_contacts = [CENTS * most * cost for most, cost in zip(most_contacts, one_contact, strict=True)]
    # Rounded up to whole cents, so that a full budget pays for every contact.
    caps = [(ceil(cost) if cost else None) if one else 0 for one, cost in zip(claim, all_contacts, strict=True)]
    whole = floor(CENTS * _exact(settings.budget or 0) + Fraction(1, 2))
    share, cents, is_capped = _split_by_claim(whole, [_exact(one) for one in claim], caps)
    budget, capped = [_money(one) for one in cents], np.array(is_capped)
    contacts = [
        min(floor(paid / (CENTS * cost)), most) if cost else 0
        for paid, cost, most in zip(cents, one_contact, most_contacts, strict=True)
    ]
    # Contacts that cost nothing are not counted. A segment without effort has no contacts.
    free = np.array([not cost for cost in one_contact]) & (effort > 0)
    left = _money(whole - sum(one for one, full in zip(cents, is_capped, strict=True) if full))
    points = 100 * claim[~capped].sum()

    def arithmetic(i: int) -> str:
        if worthless:
            points_of_segment = (
                f"Effort {effort[i]:g} (no segment has revenue or headroom) = {100 * claim[i]:.2f} points"
            )
        else:
            points_of_segment = (
                f"Effort {effort[i]:g} x ({1 - weight:.2f} x {revenue[i]:.2%} of revenue"
                f" + {weight:.2f} x {headroom[i]:.2%} of headroom) = {100 * claim[i]:.2f} points"
            )
        if claim[i] == 0:
            return f"{points_of_segment}, so it gets no budget."
        if capped[i]:
            rounded = "" if cents[i] == all_contacts[i] else ", rounded up to whole cents"
            unspent = "" if points else f" {left:,.2f} of the whole budget remains unspent."
            return (
                f"{points_of_segment}, which covers the cost of all its contacts: {customers[i]:,} customers x"
                f" {settings.contacts} contacts in {settings.period_days} days x {float(one_contact[i]):.10g} ="
                f" {budget[i]:,.2f}{rounded}.{unspent}"
            )
        per_point = (
            f"{left:,.2f} left after the fully funded segments / {points:.2f} points of the others"
            if capped.any()
            else f"{left:,.2f} / {points:.2f} points in total"
        )
        return f"{points_of_segment} x {float(left) / points:,.4f} per point ({per_point}) = {budget[i]:,.2f}."

    return pd.DataFrame(
        {
            "contact_cost": [float(cost) for cost in one_contact],
            "spendable": [None if cap is None else _money(cap) for cap in caps],
            "budget_share": share,
            "budget": budget,
            "contacts": pd.array(np.where(free, np.nan, contacts), dtype="Int64"),
            "contacts_per_customer": np.where(free, np.nan, contacts / customers),
            "reached_share": np.where(free, np.nan, np.minimum(contacts / customers, 1.0)),
            "arithmetic": [arithmetic(i) for i in range(len(profiles))],
        },
        index=profiles.index,
    )


def _holdouts(profiles: "pd.DataFrame", contacted: BoolArray, settings: StrategySettings) -> "pd.DataFrame":
    """Returns base_rate, holdout_customers and smallest_effect of each segment; missing if nobody is contacted.

    The base rate is the share who will buy within 90 days without being contacted. The share who bought in the last 90
    days is a poor estimate, because segments are made by recency, which puts it near 0 or 1. The future share lies
    between it and the share of all buyers (regression to the mean). The rate in that range that is nearest to one half
    is taken, since it needs the most customers.
    """
    import pandas as pd

    test = TwoProportionTest(settings.significance, settings.power)
    buyers = profiles[profiles["segment_id"] != 0]
    of_all = float((buyers["active_share"] * buyers["customers"]).sum() / max(buyers["customers"].sum(), 1))
    rows = []
    for customers, own, is_contacted in zip(profiles["customers"], profiles["active_share"], contacted, strict=True):
        base_rate = min(max(0.5, min(own, of_all)), max(own, of_all))
        rows.append(
            (
                base_rate,
                test.holdout(customers, base_rate, settings.effect),
                test.smallest_effect(customers, base_rate),
            )
            if is_contacted
            else (None, None, None)
        )
    holdouts = pd.DataFrame(rows, columns=["base_rate", "holdout_customers", "smallest_effect"], index=profiles.index)
    return holdouts.astype({"base_rate": float, "holdout_customers": "Int64", "smallest_effect": float})


def _split_by_claim(
    whole: int, claims: Sequence[Fraction], caps: Sequence[int | None]
) -> tuple[list[float], list[int], list[bool]]:
    """Splits a budget by claims, up to the caps; what a capped segment leaves goes to the others by their claims.

    Every part is whole cents. What is left of the fractions goes, cent by cent, to the parts with the largest ones
    (largest remainder), so the parts add up to the budget unless all are capped.

    Args:
        whole: The budget in cents.
        claims: Claim of each segment, at least 0.
        caps: The most cents of each segment; None for no limit.

    Returns:
        Share of each segment before the cents, its cents, and whether it is capped.
    """
    places = range(len(claims))
    parts: dict[int, Fraction] = {}
    capped: dict[int, int] = {}
    while True:
        left = whole - sum(capped.values())
        uncapped = {place: claims[place] for place in places if claims[place] and place not in capped}
        parts = {place: left * claim / sum(uncapped.values()) for place, claim in uncapped.items()}
        over = {place: cap for place, part in parts.items() if (cap := caps[place]) is not None and part >= cap}
        if not over:
            break
        capped |= over
    cents = {**capped, **{place: int(part) for place, part in parts.items()}}
    remaining = left - sum(map(int, parts.values()))
    for place in sorted(parts, key=lambda place: int(parts[place]) - parts[place])[:remaining]:
        cents[place] += 1
    # A budget of zero is split like a very small one, which reaches no cap.
    funded = {place: Fraction(cap) for place, cap in capped.items()}
    amounts = {**funded, **parts} if whole else uncapped
    total = Fraction(whole) or sum(amounts.values(), Fraction(0)) or Fraction(1)
    return (
        [float(amounts.get(place, 0) / total) for place in places],
        [cents.get(place, 0) for place in places],
        [place in capped for place in places],
    )


def _exact(value: float) -> Fraction:
    """Returns the decimal number that a float is written as."""
    return Fraction(repr(float(value)))


def _money(cents: int) -> Decimal:
    """Returns an amount of whole cents."""
    return Decimal(cents) / CENTS


def _shares(values: "pd.Series") -> FloatArray:
    """Returns the share (segments,) of each value in the sum of all; values below zero count as zero."""
    positive = np.maximum(values.to_numpy(dtype=np.float64), 0.0)
    return positive / positive.sum() if positive.sum() > 0 else positive


def _actions_in(file: Path) -> dict[str, Action]:
    """Reads a file of actions; raises UsageError on the first wrong key."""
    actions = {}
    required = [name for name, field in Action.model_fields.items() if field.is_required()]
    for name, entry in read_toml(file).items():
        try:
            actions[name] = Action.model_validate(entry)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join((name, *map(str, first["loc"])))
            problems = {
                "missing": "is missing",
                "extra_forbidden": f"no such key{did_you_mean(key.removeprefix(f'{name}.'), Action.model_fields)}",
                "model_type": f"must be a table with the keys {', '.join(required)} (got {entry!r})",
            }
            problem = problems.get(first["type"], f"{first['msg']} (got {first['input']!r})")
            raise UsageError(f"{file}: {key}: {problem}") from None
    return actions
