"""Whose actions apply to a customer: those of the segment's name, unless the customer's own rhythm contradicts them."""

from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from seg_pipeline.settings import read_toml

if TYPE_CHECKING:
    import pandas as pd

ADVICE = Path(__file__).with_name("advice.toml")
BOUGHT_AGAIN = "bought_again"


@cache
def _table() -> dict[str, dict[str, str]]:
    """Returns the tables of advice.toml."""
    return read_toml(ADVICE)


def advice_of(name: str, lifecycle: str, *, bought_again: bool) -> str:
    """Returns the name whose actions apply to a customer.

    Args:
        name: The name of the customer's segment; the actions of a name that advice.toml does not have apply to all.
        lifecycle: Where the customer is in their own rhythm, see customer_rhythm.
        bought_again: Whether the customer has more than one order.
    """
    advice = _table().get(name, {}).get(lifecycle, name)
    return _table()[BOUGHT_AGAIN].get(advice, advice) if bought_again else advice


def advice_rows() -> "pd.DataFrame":
    """Returns the rule as a table: grid_name, lifecycle, bought_again and advice."""
    import pandas as pd

    rules = {name: rule for name, rule in _table().items() if name != BOUGHT_AGAIN}
    return pd.DataFrame(
        [
            (name, lifecycle, bought_again, advice_of(name, lifecycle, bought_again=bought_again))
            for name, rule in rules.items()
            for lifecycle, bought_again in product(rule, (False, True))
        ],
        columns=["grid_name", "lifecycle", "bought_again", "advice"],
    )
