"""What to do for each segment, and which part of the budget it gets."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.settings import StrategySettings

if TYPE_CHECKING:
    import pandas as pd

ACTIONS = Path(__file__).with_name("strategies.toml")


def strategies(profiles: "pd.DataFrame", settings: StrategySettings) -> "pd.DataFrame":
    """The rows of segment_strategies, one per row of profiles.

    A segment's part of the budget goes by (1 - w) times its share of revenue plus w times its share of headroom, w
    being strategies.headroom_weight, times the effort that its actions take. A segment whose returns exceed its
    purchases counts as zero.

    Args:
        profiles: segment_id, segment_name, grid_name, revenue, headroom.
    """
    import pandas as pd

    actions = tomllib.loads(ACTIONS.read_text(encoding="utf-8"))
    weight = settings.headroom_weight
    revenue = _shares(profiles["revenue"])
    headroom = _shares(profiles["headroom"])
    # Where all spend alike there is no headroom to go by, and revenue decides alone.
    weight = weight if headroom.sum() > 0 else 0.0
    effort = np.array([actions[name]["effort"] for name in profiles["grid_name"]])
    claim = effort * ((1 - weight) * revenue + weight * headroom)
    part = claim / claim.sum() if claim.sum() > 0 else np.full(len(profiles), 1 / len(profiles))
    chosen = pd.DataFrame([actions[name] for name in profiles["grid_name"]], index=profiles.index)
    return pd.DataFrame(
        {
            "segment_id": profiles["segment_id"],
            "segment_name": profiles["segment_name"],
            **{column: chosen[column] for column in ("objective", "marketing", "sales", "service")},
            "headroom": profiles["headroom"].astype(float),
            "budget_share": part,
            "budget": part * settings.budget,
            "arithmetic": [
                f"effort {e:g} x ({1 - weight:.2f} x {r:.1%} of revenue + {weight:.2f} x {h:.1%} of headroom)"
                f" = {c:.1%}, of all claims {p:.1%} of {settings.budget:,.0f}"
                for e, r, h, c, p in zip(effort, revenue, headroom, claim, part, strict=True)
            ],
        }
    )


def _shares(values: "pd.Series") -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    positive = np.maximum(values.to_numpy(dtype=np.float64), 0.0)
    return positive / positive.sum() if positive.sum() > 0 else positive
