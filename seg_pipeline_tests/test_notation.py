"""Numbers and money as people of a place write them."""

from decimal import Decimal

import pytest

from seg_pipeline.errors import UsageError
from seg_pipeline.plotting.notation import MISSING, Notation
from seg_pipeline.settings import load_settings

SPACE = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("value", "locale", "currency", "expected"),
    [
        (Decimal("1234567.891"), "en", "£", "£1,234,568"),
        (Decimal("-45.5"), "en", "", "-45.50"),
        (99.999, "en", "EUR", "€100.00"),
        (99.999, "en", "CHF", f"CHF{SPACE}100.00"),
        (1234.5, "de", "EUR", f"1.234{SPACE}€"),
        (12, "ja", "JPY", "￥12"),
        (-0.001, "en", "", "0.00"),
        (None, "en", "£", MISSING),
    ],
)
def test_money_reads_as_people_of_the_place_write_it(value, locale, currency, expected):
    assert Notation(locale, currency).money(value) == expected


def test_numbers_and_shares_take_the_separators_of_the_place():
    german, english = Notation("de"), Notation()
    assert [german.number(1234567.891, 2), german.share(0.1234)] == ["1.234.567,89", f"12,3{SPACE}%"]
    assert [english.number(1234567.891, 2), english.share(0.1234), english.share(None)] == [
        "1,234,567.89", "12.3%", MISSING
    ]  # fmt: skip


def test_features_have_as_many_decimals_as_they_need():
    written = [Notation().quantity(value, "number") for value in (123.4, 12.0, 3.25, 0.125, None)]
    assert written == ["123", "12", "3.2", "0.12", MISSING]
    assert Notation().quantity(0.25, "share") == "25.0%"


def test_a_locale_that_there_is_not_is_one_line():
    with pytest.raises(UsageError, match="'klingon' is not a locale such as en_GB, de or fr_CH"):
        load_settings(["report.locale=klingon"], environment={})
