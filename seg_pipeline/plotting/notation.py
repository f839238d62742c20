"""Numbers, shares and money as people of a place write them.

Only what is shown passes here; what is stored or published as data does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

MISSING = "\N{EN DASH}"
MONEY_FEATURES = frozenset({"monetary", "avg_order_value"})
RATE_FEATURES = frozenset({"return_rate"})
# Amounts below this show their cents.
WITH_CENTS = 100


@dataclass(frozen=True, slots=True)
class Notation:
    """How numbers are written; a missing one is a dash.

    Attributes:
        locale: As Babel knows it, such as en_GB or de.
        currency: An ISO code, a symbol, or nothing.
    """

    locale: str = "en"
    currency: str = ""

    def number(self, value: Any, decimals: int = 0) -> str:
        """A number with the place's separators."""
        from babel import Locale
        from babel.numbers import format_decimal

        pattern = Locale.parse(self.locale).decimal_formats[None].pattern
        return _written(format_decimal, value, decimals, format=_decimals(pattern, decimals), locale=self.locale)

    def share(self, value: Any, decimals: int = 1) -> str:
        """A share in per cent."""
        from babel import Locale
        from babel.numbers import format_percent

        pattern = Locale.parse(self.locale).percent_formats[None].pattern
        return _written(format_percent, value, decimals + 2, format=_decimals(pattern, decimals), locale=self.locale)

    def money(self, value: Any) -> str:
        """An amount with its currency; cents, where the currency has them, only below 100."""
        from babel import Locale
        from babel.numbers import format_currency, get_currency_precision, get_currency_symbol

        small = pd.notna(value) and abs(value) < WITH_CENTS
        decimals = get_currency_precision(self.currency) if small else 0
        if not self.currency:
            return self.number(value, decimals)
        pattern = _decimals(Locale.parse(self.locale).currency_formats["standard"].pattern, decimals)
        if get_currency_symbol(self.currency, self.locale)[-1].isalnum():
            # Babel leaves out the space that keeps a code from the digits.
            pattern = re.sub("¤(?=[-#])", "¤\N{NO-BREAK SPACE}", pattern)
        return _written(
            format_currency,
            value,
            decimals,
            currency=self.currency,
            format=pattern,
            locale=self.locale,
            currency_digits=False,
        )

    def feature(self, value: Any, feature: str) -> str:
        """A feature's value: rates in per cent, money with its currency, others with as many decimals as they need."""
        if feature in RATE_FEATURES:
            return self.share(value)
        if feature in MONEY_FEATURES:
            return self.money(value)
        if pd.isna(value):
            return MISSING
        size = abs(value)
        return self.number(value, 0 if size >= 100 or value == int(value) else 1 if size >= 1 else 2)


def _decimals(pattern: str, decimals: int) -> str:
    """The place's pattern, such as #,##0.00 ¤, with that many decimals."""
    fraction = "." + "0" * decimals if decimals else ""
    return re.sub(r"[#,0]+(\.[#0]+)?", lambda digits: digits[0].split(".")[0] + fraction, pattern)


def _written(write: Any, value: Any, decimals: int, **how: Any) -> str:
    # Rounded here, so that no zero has a minus.
    return MISSING if pd.isna(value) else write(round(float(value), decimals) + 0.0, **how)
