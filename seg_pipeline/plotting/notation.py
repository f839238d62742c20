"""Writes numbers, shares and money as the people of a place do.

Only for what people read: stored and published data keep all digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

from seg_pipeline.tables import Unit

MISSING = "\N{EN DASH}"
# Amounts below this are written with cents.
WITH_CENTS = 100


@dataclass(frozen=True, slots=True)
class Notation:
    """How numbers are written; a missing number is a dash.

    Attributes:
        locale: The locale's name in Babel, such as en_GB or de.
        currency: An ISO code, a symbol, or empty.
    """

    locale: str = "en"
    currency: str = ""

    def number(self, value: Any, decimals: int = 0) -> str:
        """Writes a number with the separators of the place."""
        from babel import Locale
        from babel.numbers import format_decimal

        pattern = Locale.parse(self.locale).decimal_formats[None].pattern
        return _written(format_decimal, value, decimals, format=_decimals(pattern, decimals), locale=self.locale)

    def share(self, value: Any, decimals: int = 1) -> str:
        """Writes a share as a percentage."""
        from babel import Locale
        from babel.numbers import format_percent

        pattern = Locale.parse(self.locale).percent_formats[None].pattern
        return _written(format_percent, value, decimals + 2, format=_decimals(pattern, decimals), locale=self.locale)

    def money(self, value: Any) -> str:
        """Writes an amount with its currency. Cents, if the currency has them, appear only below 100."""
        from babel import Locale
        from babel.numbers import format_currency, get_currency_precision, get_currency_symbol

        small = pd.notna(value) and abs(value) < WITH_CENTS
        decimals = get_currency_precision(self.currency) if small else 0
        if not self.currency:
            return self.number(value, decimals)
        pattern = _decimals(Locale.parse(self.locale).currency_formats["standard"].pattern, decimals)
        if get_currency_symbol(self.currency, self.locale)[-1].isalnum():
            # Babel leaves out the space between a code and the digits.
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

    def quantity(self, value: Any, unit: Unit) -> str:
        """Writes a value in its unit; a plain number gets as many decimals as it needs."""
        if unit == "share":
            return self.share(value)
        if unit == "money":
            return self.money(value)
        if pd.isna(value):
            return MISSING
        size = abs(value)
        return self.number(value, 0 if size >= 100 or value == int(value) else 1 if size >= 1 else 2)


def _decimals(pattern: str, decimals: int) -> str:
    """Returns a locale's pattern, such as #,##0.00 ¤, with that many decimals."""
    fraction = "." + "0" * decimals if decimals else ""
    return re.sub(r"[#,0]+(\.[#0]+)?", lambda digits: digits[0].split(".")[0] + fraction, pattern)


def _written(write: Any, value: Any, decimals: int, **options: Any) -> str:
    # Adding zero after rounding turns -0 into 0.
    return MISSING if pd.isna(value) else write(round(float(value), decimals) + 0.0, **options)
