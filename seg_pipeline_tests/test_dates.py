"""Dates in every usual form are read, and never guessed if two readings fit."""

import datetime

import pytest

from seg_pipeline.errors import DataError, UsageError
from seg_pipeline_tests.conftest import write_csv

HEADER = "customer_id ordered_at amount"
LATE = datetime.datetime(2024, 12, 31)


def read(clean_lines, *texts, settings=()):
    return clean_lines(HEADER, *(["A", text, "1"] for text in texts), settings=settings).rows("ordered_at")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-12-31", LATE), ("2024-12-31 08:05", LATE.replace(hour=8, minute=5)), ("2024/12/31", LATE),
        ("2024-12-31T08:05:00", LATE.replace(hour=8, minute=5)), 
        ("2024-12-31T08:05:00Z", LATE.replace(hour=8, minute=5)),
        ("2024-12-31 08:05:00+02:00", LATE.replace(hour=8, minute=5)), ("20241231", LATE),
        ("2024.12.31", LATE),
        ("20241231 08:05", LATE.replace(hour=8, minute=5)), ("31/12/2024", LATE), 
        ("31.12.2024 8:05", LATE.replace(hour=8, minute=5)),
        ("31/12/2024 20:05:00", LATE.replace(hour=20, minute=5)), ("12/31/2024", LATE),
        ("31/12/2024 08:05:00+02", LATE.replace(hour=8, minute=5)),
        ("31/12/2024 08:05 GMT", LATE.replace(hour=8, minute=5)),
        ("12/31/24", LATE),
        ("12/31/2024 8:05 PM", LATE.replace(hour=20, minute=5)), (" 2024-12-31 ", LATE),
    ],
)  # fmt: skip
def test_the_usual_forms_are_recognised(clean_lines, text, time):
    assert read(clean_lines, text) == [time]


def test_one_day_past_the_twelfth_settles_how_all_are_read(clean_lines):
    assert read(clean_lines, "01/02/2024", "13/02/2024") == [
        datetime.datetime(2024, 2, 1),
        datetime.datetime(2024, 2, 13),
    ]
    assert read(clean_lines, "01/02/24", "01/13/24") == [datetime.datetime(2024, 1, 2), datetime.datetime(2024, 1, 13)]


def test_dates_that_fit_both_ways_want_a_setting(clean_lines):
    with pytest.raises(
        UsageError, match=r"orders\.csv row 1: ordered_at '1/2/2024': .* source\.date_format=day-first or"
    ):
        read(clean_lines, "1/2/2024", "3/4/2024")
    assert read(clean_lines, "1/2/2024", settings=["source.date_format=day-first"]) == [datetime.datetime(2024, 2, 1)]
    assert read(clean_lines, "1/2/2024", settings=["source.date_format=month-first"]) == [datetime.datetime(2024, 1, 2)]


@pytest.mark.parametrize(
    ("texts", "families"),
    [(["24-01-31", "24-01-30"], ["day-first", "year-first"]), (["31/12/24"], ["day-first", "year-first"]),
     (["01.02.03"], ["day-first", "month-first", "year-first"]), (["1/2/03"], ["day-first", "month-first"])],
    ids=["a year before a day", "a day before a year", "any order", "no year of one digit"],
)  # fmt: skip
def test_dates_of_two_digits_each_want_a_setting(clean_lines, texts, families):
    with pytest.raises(UsageError) as failure:
        read(clean_lines, *texts)
    assert str(failure.value).split("orders.csv ")[1] == (
        f"row 1: ordered_at '{texts[0]}': the dates can be {' or '.join(families)}; set"
        f" {' or '.join(f'source.date_format={family}' for family in families)}"
    )
    for family in families:
        assert len(read(clean_lines, *texts, settings=[f"source.date_format={family}"])) == len(texts)


@pytest.mark.parametrize(
    ("texts", "family"),
    [(["24/01/31", "99/01/31"], "year-first"), (["31/01/24", "31/01/99"], "day-first"), (["12/31/24"], "month-first"),
     (["1/2/24", "31/12/24"], "day-first"), (["31/12/2024", "31/12/24"], "day-first")],
    ids=["a year that is no day", "a last part that is no day", "a day that is no month", "a part of one digit",
         "a year of four digits"],
)  # fmt: skip
def test_one_date_that_fits_in_one_way_only_settles_two_digits_each(clean_source, tmp_path, texts, family):
    file = write_csv(tmp_path / "a.csv", HEADER.split(), *(["A", text, "1"] for text in texts))
    clean_source(file)
    found = clean_source(file, settings=[f"source.date_format={family}"]).rows("ordered_at")
    assert clean_source(file).rows("ordered_at") == found
    assert len(found) == len(texts)


NO_DATES = (
    "45000", "45000.5", "1704067200", "1704067200000", "2024111", "202411", "240131", "00/00/0000", "2024-02-30",
    "2024-W01", "5 Jan 2024", "2024-01-01 00:00:00 Europe/Berlin", "2024-01-01 10:00 PM", "2024-01-01 00:00 GMT+1",
    "2024-01-01+02:00", "'2024-01-01'", "2024-01-01 25:00", "31/12/2024 13:05 PM", "1 day",
)  # fmt: skip


@pytest.mark.parametrize("text", NO_DATES)
def test_what_is_no_date_is_refused_alone(clean_lines, text):
    with pytest.raises(DataError) as failure:
        read(clean_lines, text)
    assert str(failure.value).split("orders.csv ")[1] == (
        f"row 1: ordered_at {text!r}: none of 1 dates can be read; set source.date_format to a strptime format"
    )


@pytest.mark.parametrize("good", ["2024-12-31", "20241231", "31/12/2024"])
def test_what_is_no_date_is_rejected_among_dates(clean_lines, good):
    cleaned = clean_lines(HEADER, *(["A", text, "1"] for text in NO_DATES), *[["A", good, "1"]] * 2 * len(NO_DATES))
    assert cleaned.rows("ordered_at") == [LATE] * 2 * len(NO_DATES)
    assert cleaned.rejected() == [(row, "unparseable_date") for row in range(1, len(NO_DATES) + 1)]


def test_a_date_of_another_age_is_implausible(clean_lines):
    texts = ["0001-01-01", "9999-12-31", "1899-12-30", "infinity", "epoch", "2024-01-01 (BC)"]
    cleaned = clean_lines(HEADER, *(["A", text, "1"] for text in texts), *[["A", "2024-12-31", "1"]] * 7)
    assert cleaned.rejected() == [(row, "implausible_date") for row in range(1, 7)]


def test_time_zones_mixed_in_a_column_leave_each_time_as_it_was_written(clean_lines):
    texts = ["2024-12-31T00:30:00+14:00", "2024-12-31T00:30:00Z", "2024-12-31 00:30:00-0500", "2024-12-31T00:30+02"]
    assert read(clean_lines, *texts) == [LATE.replace(minute=30)] * 4


def test_a_long_value_is_not_shown_whole(clean_lines):
    with pytest.raises(DataError) as failure:
        read(clean_lines, "x" * 5_000)
    assert f"ordered_at '{'x' * 60}...': none of 1 dates" in str(failure.value)


def test_a_format_of_the_settings_is_the_only_one(clean_lines):
    cleaned = clean_lines(HEADER, "A 31Dec2024 1", "A 2024-12-31 1", settings=["source.date_format=%d%b%Y"])
    assert cleaned.rows("ordered_at") == [LATE]
    assert cleaned.rejected() == [(2, "unparseable_date")]


@pytest.mark.parametrize("setting", ["%Q", "%", "dayfirst", "YYYY-MM-DD"])
def test_a_setting_that_is_no_format_is_wrong_usage(clean_lines, setting):
    with pytest.raises(UsageError, match=r"source\.date_format") as failure:
        read(clean_lines, "2024-12-31", settings=[f"source.date_format={setting}"])
    assert "\n" not in str(failure.value)


def test_dates_that_nothing_reads_are_told_with_the_first_line(clean_lines):
    with pytest.raises(DataError, match=r"orders\.csv row 2: ordered_at 'soon'.*none of 2 dates"):
        read(clean_lines, "", "soon", "later")


def test_a_few_odd_dates_among_good_ones_are_rejected(clean_lines):
    cleaned = clean_lines(HEADER, *["A 31/12/2024 1"] * 3, "A 0000-00-00 1", "A 31/13/2024 1", "A soon 1")
    assert cleaned.rows("ordered_at") == [LATE] * 3
    assert cleaned.rejected() == [(4, "unparseable_date"), (5, "unparseable_date"), (6, "unparseable_date")]


def test_forms_of_one_family_may_be_mixed(clean_lines):
    texts = ["31/12/2024", "31/12/24", "31.12.2024 00:00", "31-12-2024 12:00 AM"]
    assert read(clean_lines, *texts) == [LATE] * 4


def test_a_source_without_any_date_is_rejected_line_by_line(clean_lines):
    assert clean_lines(HEADER, "A - 1", "B - 2").rejected("reason") == ["unparseable_date"] * 2


def test_the_span_of_plausible_dates_is_inclusive(clean_lines):
    options = ["plausible_dates.earliest=2024-01-02", "plausible_dates.latest=2024-01-03"]
    texts = ["2024-01-01", "2024-01-02", "2024-01-03 23:59:59", "2024-01-04"]
    cleaned = clean_lines(HEADER, *(["A", text, "1"] for text in texts), settings=options)
    assert cleaned.rows("source_row") == [2, 3]
