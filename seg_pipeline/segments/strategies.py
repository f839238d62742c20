"""What to do for each segment, which part of the budget it gets, and whom to leave out to measure what it does."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from seg_pipeline.errors import UsageError, did_you_mean
from seg_pipeline.models.coreset import FloatArray
from seg_pipeline.segments.holdout import Comparison
from seg_pipeline.settings import Section, StrategySettings, read_toml

if TYPE_CHECKING:
    import pandas as pd

ACTIONS = Path(__file__).with_name("strategies.toml")
# A whole number of contacts stays one, however its cost was rounded.
ROUNDING = 1e-9

BoolArray = npt.NDArray[np.bool_]


class Action(Section):
    """What to do for the segments of one cell of the R x F grid."""

    effort: float = Field(ge=0, allow_inf_nan=False)
    objective: str = Field(min_length=1)
    marketing: str = Field(min_length=1)
    sales: str = Field(min_length=1)
    service: str = Field(min_length=1)


def read_actions(file: Path | None) -> dict[str, Action]:
    """The action of every cell by its name: the package's own, and over them those of the file.

    Raises:
        UsageError: the file cannot be read, names a cell or a key that there is not, or leaves out a key.
    """
    own = _actions_in(ACTIONS)
    if file is None:
        return own
    found = _actions_in(file)
    for name in found:
        if name not in own:
            raise UsageError(f"{file}: {name}: no such segment{did_you_mean(name, own)}")
    return own | found


def strategies(profiles: "pd.DataFrame", settings: StrategySettings) -> "pd.DataFrame":
    """The rows of segment_strategies, one per row of profiles.

    A segment's claim on the budget is (1 - w) times its share of revenue plus w times its share of headroom, w being
    strategies.headroom_weight, times the effort that its actions take. A segment whose returns exceed its purchases
    counts as zero. The budget goes by claims, but no segment gets more than its contacts can cost: that of one is
    strategies.contact_cost times the effort, and each customer is contacted strategies.contacts times at most.

    Args:
        profiles: segment_id, segment_name, grid_name, customers, revenue, headroom, active_share.
        settings: With the file of actions, where a shop has its own.
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
    """What a contact costs, what can be spent, what is given, whom it reaches, and the arithmetic in words."""
    import pandas as pd

    customers = profiles["customers"].to_numpy(dtype=np.int64)
    revenue, headroom = _shares(profiles["revenue"]), _shares(profiles["headroom"])
    # Where all spend alike there is no headroom to go by, and revenue decides alone.
    weight = settings.headroom_weight if headroom.any() else 0.0
    value = (1 - weight) * revenue + weight * headroom
    worthless = not (effort * value).any()
    claim = effort if worthless else effort * value
    cost = settings.contact_cost * effort
    spendable = np.where(claim > 0, customers * settings.contacts * cost if settings.contact_cost else np.inf, 0.0)
    # A budget of nothing is split like a very small one.
    limit = spendable / settings.budget if settings.budget else np.full(len(claim), np.inf)
    share, full = _filled(claim, limit)
    budget = np.where(full, spendable, share * settings.budget)
    # Contacts that cost nothing are not counted; where there is no effort there are none.
    free = (cost == 0) & (effort > 0)
    contacts = np.floor(np.divide(budget, cost, where=cost > 0, out=np.zeros_like(budget)) + ROUNDING)

    left, points = settings.budget - budget[full].sum(), 100 * claim[~full].sum()

    def in_words(i: int) -> str:
        if worthless:
            claimed = f"effort {effort[i]:g}, no segment having revenue or headroom, = {100 * claim[i]:.2f} points"
        else:
            claimed = (
                f"effort {effort[i]:g} x ({1 - weight:.2f} x {revenue[i]:.2%} of revenue"
                f" + {weight:.2f} x {headroom[i]:.2%} of headroom) = {100 * claim[i]:.2f} points"
            )
        if claim[i] == 0:
            return f"{claimed}, which earn nothing"
        if full[i]:
            return (
                f"{claimed}, which earn all that {customers[i]:,} customers x {settings.contacts} contacts"
                f" x {cost[i]:g} can cost = {budget[i]:,.2f}"
                + ("" if points else f"; of the whole budget {max(left, 0):,.2f} stay unspent")
            )
        of = "that full segments leave / {:.2f} points of the others" if full.any() else "/ {:.2f} points of all"
        return f"{claimed} x {left / points:,.4f} a point ({left:,.2f} {of.format(points)}) = {budget[i]:,.2f}"

    return pd.DataFrame(
        {
            "contact_cost": cost,
            "spendable": np.where(np.isinf(spendable), np.nan, spendable),
            "budget_share": share,
            "budget": budget,
            "contacts": pd.array(np.where(free, np.nan, contacts), dtype="Int64"),
            "reached_share": np.where(free, np.nan, np.minimum(contacts / customers, 1.0)),
            "arithmetic": [in_words(i) for i in range(len(profiles))],
        },
        index=profiles.index,
    )


def _holdouts(profiles: "pd.DataFrame", contacted: BoolArray, settings: StrategySettings) -> "pd.DataFrame":
    """base_rate, holdout_customers and smallest_effect; missing where nobody is contacted.

    The base rate is the share who will buy within 90 days without being contacted. The share who did in the last 90
    days is no estimate of it: segments are made by recency, so it is near 0 or 1 by construction. What comes lies
    between it and the share of all buyers (regression to the mean); the rate there that is nearest one half is taken,
    since it asks for the most customers.
    """
    import pandas as pd

    comparison = Comparison(settings.significance, settings.power)
    bought = profiles[profiles["segment_id"] != 0]
    of_all = float((bought["active_share"] * bought["customers"]).sum() / max(bought["customers"].sum(), 1))
    rows = []
    for customers, own, is_contacted in zip(profiles["customers"], profiles["active_share"], contacted, strict=True):
        base_rate = min(max(0.5, min(own, of_all)), max(own, of_all))
        rows.append(
            (
                base_rate,
                comparison.holdout(customers, base_rate, settings.effect),
                comparison.smallest_effect(customers, base_rate),
            )
            if is_contacted
            else (None, None, None)
        )
    found = pd.DataFrame(rows, columns=["base_rate", "holdout_customers", "smallest_effect"], index=profiles.index)
    return found.astype({"base_rate": float, "holdout_customers": "Int64", "smallest_effect": float})


def _filled(claim: FloatArray, limit: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Parts of 1 by claim, none above its limit, and which are full: what these leave goes to the others by claim."""
    part, full = np.zeros(len(claim)), np.zeros(len(claim), dtype=bool)
    while True:
        open_ = ~full & (claim > 0)
        part[open_] = max(1 - part[full].sum(), 0.0) * claim[open_] / claim[open_].sum()
        over = open_ & (part >= limit)
        if not over.any():
            return part, full
        part[over] = limit[over]
        full |= over


def _shares(values: "pd.Series") -> FloatArray:
    positive = np.maximum(values.to_numpy(dtype=np.float64), 0.0)
    return positive / positive.sum() if positive.sum() > 0 else positive


def _actions_in(file: Path) -> dict[str, Action]:
    actions = {}
    for name, given in read_toml(file).items():
        try:
            actions[name] = Action.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join((name, *map(str, first["loc"])))
            said = {
                "missing": "is missing",
                "extra_forbidden": f"no such key{did_you_mean(key.removeprefix(f'{name}.'), Action.model_fields)}",
                "model_type": f"is no segment with its keys (got {given!r})",
            }
            what = said.get(first["type"], f"{first['msg']} (got {first['input']!r})")
            raise UsageError(f"{file}: {key}: {what}") from None
    return actions
