"""The plan for each segment: its actions, its part of the budget, and how many customers to leave out as a holdout."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from seg_pipeline.errors import UsageError, did_you_mean
from seg_pipeline.models.coreset import FloatArray
from seg_pipeline.segments.holdout import TwoProportionTest
from seg_pipeline.settings import Section, StrategySettings, read_toml

if TYPE_CHECKING:
    import pandas as pd

ACTIONS = Path(__file__).with_name("strategies.toml")
# Keeps a whole number of contacts whole although its cost was rounded.
ROUNDING = 1e-9

BoolArray = npt.NDArray[np.bool_]


class Action(Section):
    """The actions for the segments of one cell of the R x F grid; strategies.toml says what `effort` means."""

    effort: float = Field(ge=0, allow_inf_nan=False)
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


def plan_strategies(profiles: "pd.DataFrame", settings: StrategySettings) -> "pd.DataFrame":
    """Returns the rows of segment_strategies, one per row of profiles.

    A segment's claim on the budget is (1 - w) times its share of revenue plus w times its share of headroom, with w
    strategies.headroom_weight, times the effort that its actions take. Negative revenue counts as zero. The budget is
    split by claims, but no segment gets more than its contacts can cost: one contact costs strategies.contact_cost
    times the effort, and each customer is contacted at most strategies.contacts times.

    Args:
        profiles: segment_id, segment_name, grid_name, customers, revenue, headroom and active_share of each segment.
        settings: The budget, the costs, the holdout's test, and the shop's own file of actions if it has one.

    Raises:
        UsageError: The shop's own file of actions is wrong.
    """
    import pandas as pd

    actions = read_actions(settings.actions)
    chosen = pd.DataFrame([dict(actions[name]) for name in profiles["grid_name"]], index=profiles.index)
    effort = chosen["effort"].to_numpy(dtype=np.float64)
    return pd.concat(
        [
            profiles[["segment_id", "segment_name"]],
            chosen[["objective", "marketing", "sales", "service"]],
            profiles[["headroom"]].astype(float),
            _budgets(profiles, effort, settings),
            _holdouts(profiles, (effort > 0) & profiles["active_share"].notna().to_numpy(), settings),
        ],
        axis="columns",
    )


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
    cost = settings.contact_cost * effort
    spendable = np.where(claim > 0, customers * settings.contacts * cost if settings.contact_cost else np.inf, 0.0)
    # A budget of zero is split like a very small one, which reaches no cap.
    cap = spendable / settings.budget if settings.budget else np.full(len(claim), np.inf)
    share, capped = _split_by_claim(claim, cap)
    budget = np.where(capped, spendable, share * settings.budget)
    # Contacts that cost nothing are not counted. A segment without effort has no contacts.
    free = (cost == 0) & (effort > 0)
    contacts = np.floor(np.divide(budget, cost, where=cost > 0, out=np.zeros_like(budget)) + ROUNDING)

    left, points = settings.budget - budget[capped].sum(), 100 * claim[~capped].sum()

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
            unspent = "" if points else f" {max(left, 0):,.2f} of the whole budget remains unspent."
            return (
                f"{points_of_segment}, which covers the cost of all its contacts: {customers[i]:,} customers"
                f" x {settings.contacts} contacts x {cost[i]:g} = {budget[i]:,.2f}.{unspent}"
            )
        per_point = (
            f"{left:,.2f} left after the fully funded segments / {points:.2f} points of the others"
            if capped.any()
            else f"{left:,.2f} / {points:.2f} points in total"
        )
        return f"{points_of_segment} x {left / points:,.4f} per point ({per_point}) = {budget[i]:,.2f}."

    return pd.DataFrame(
        {
            "contact_cost": cost,
            "spendable": np.where(np.isinf(spendable), np.nan, spendable),
            "budget_share": share,
            "budget": budget,
            "contacts": pd.array(np.where(free, np.nan, contacts), dtype="Int64"),
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


def _split_by_claim(claim: FloatArray, cap: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Splits 1 by claim, up to the caps; what a capped segment leaves goes to the others by their claims.

    Args:
        claim: Claim (segments,) of each segment, at least 0.
        cap: Largest share (segments,) of each segment.

    Returns:
        Share (segments,) of each segment, and whether it is capped (segments,).
    """
    share, capped = np.zeros(len(claim)), np.zeros(len(claim), dtype=bool)
    while True:
        uncapped = ~capped & (claim > 0)
        share[uncapped] = max(1 - share[capped].sum(), 0.0) * claim[uncapped] / claim[uncapped].sum()
        over = uncapped & (share >= cap)
        if not over.any():
            return share, capped
        share[over] = cap[over]
        capped |= over


def _shares(values: "pd.Series") -> FloatArray:
    """Returns the share (segments,) of each value in the sum of all; values below zero count as zero."""
    positive = np.maximum(values.to_numpy(dtype=np.float64), 0.0)
    return positive / positive.sum() if positive.sum() > 0 else positive


def _actions_in(file: Path) -> dict[str, Action]:
    """Reads a file of actions; raises UsageError on the first wrong key."""
    actions = {}
    for name, entry in read_toml(file).items():
        try:
            actions[name] = Action.model_validate(entry)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join((name, *map(str, first["loc"])))
            problems = {
                "missing": "is missing",
                "extra_forbidden": f"no such key{did_you_mean(key.removeprefix(f'{name}.'), Action.model_fields)}",
                "model_type": f"must be a table with the keys {', '.join(Action.model_fields)} (got {entry!r})",
            }
            problem = problems.get(first["type"], f"{first['msg']} (got {first['input']!r})")
            raise UsageError(f"{file}: {key}: {problem}") from None
    return actions
