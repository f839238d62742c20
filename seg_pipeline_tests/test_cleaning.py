"""Each raw line becomes a clean line, or a rejected one with the first reason that applies; none is lost."""

import datetime
from decimal import Decimal

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg_pipeline.errors import UsageError
from seg_pipeline.prepared.cleaning import clean, wildcards_to_regex
from seg_pipeline.prepared.tables import REASONS
from seg_pipeline.raw.columns import ORDER_COLUMNS
from seg_pipeline.raw.tables import DELIVERIES, RAW_ORDERS
from seg_pipeline.settings import load_settings
from seg_pipeline.warehouse import Connection
from seg_pipeline_tests.whole_runs import real_data

HEADER = "order_id customer_id ordered_at product_id quantity unit_price"
GOOD = "1 A 2024-01-01 P1 2 1.50"


def test_a_clean_line_has_typed_values(clean_lines):
    cleaned = clean_lines(HEADER, GOOD)
    assert cleaned.rows("* EXCLUDE (source_file)") == [
        ("1", "A", datetime.datetime(2024, 1, 1), "P1", Decimal(2), Decimal("1.5"), Decimal(3), False, 1)
    ]
    assert cleaned.rejected() == []


@pytest.mark.parametrize(
    ("reason", "line", "options"),
    [
        ("missing_customer_id", "1 - 2024-01-01 P1 2 1.50", []),
        ("mangled_customer_id", "1 5.94773E+23 2024-01-01 P1 2 1.50", []),
        ("mangled_order_id", "5.94773E+23 A 2024-01-01 P1 2 1.50", []),
        ("unparseable_date", "1 A 2024-13-01 P1 2 1.50", []),
        ("unparseable_date", "1 A - P1 2 1.50", []),
        ("implausible_date", "1 A 1989-12-31 P1 2 1.50", []),
        ("implausible_date", "1 A 2100-01-02 P1 2 1.50", []),
        ("implausible_date", "1 A infinity P1 2 1.50", []),
        ("unparseable_quantity", "1 A 2024-01-01 P1 two 1.50", []),
        ("unparseable_quantity", "1 A 2024-01-01 P1 nan 1.50", []),
        ("unparseable_price", "1 A 2024-01-01 P1 2 #REF!", []),
        ("unparseable_price", "1 A 2024-01-01 P1 2 -", []),
        ("unparseable_price", "1 A 2024-01-01 P1 2 1e15", []),
        ("amount_out_of_range", "1 A 2024-01-01 P1 99999999 99999999", []),
        ("duplicate_line", GOOD, []),
        ("excluded_product", "1 A 2024-01-01 POST 2 1.50", ["excluded_products=POST"]),
        ("zero_quantity", "1 A 2024-01-01 P1 0 1.50", []),
        ("return_dropped", "1 A 2024-01-01 P1 -2 1.50", ["returns=drop"]),
        ("non_positive_price", "1 A 2024-01-01 P1 2 0", []),
        ("non_positive_price", "1 A 2024-01-01 P1 2 -1", ["zero_prices=keep"]),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_used_is_kept_as_delivered_with_its_reason(clean_lines, reason, line, options):
    cleaned = clean_lines(HEADER, GOOD, line, settings=options)
    delivered = tuple(None if value == "-" else value for value in line.split())
    assert cleaned.rejected(f"{', '.join(HEADER.split())}, source_row, reason") == [(*delivered, 2, reason)]
    assert cleaned.rows("source_row") == [1]


def test_the_first_reason_that_applies_is_given(clean_lines):
    faults = [
        "9 - x POST x x", "9 1.5E+9 x POST x x", "9 A x POST x x", "9 A 1900-01-01 POST x x", "9 A 2024-01-01 POST x x",
        "9 A 2024-01-01 POST 0 x", "9 A 2024-01-01 POST 99999999 99999999", "9 A 2024-01-01 POST 0 -1",
        "9 A 2024-01-01 POST 0 -1", "9 A 2024-01-01 P1 0 -1", "9 A 2024-01-01 P1 -1 -1", "9 A 2024-01-01 P1 1 -1",
    ]  # fmt: skip
    options = ["excluded_products=POST", "returns=drop", "source.date_format=iso"]
    cleaned = clean_lines(HEADER, *faults, settings=options)
    assert cleaned.rejected("reason") == [
        "missing_customer_id", "mangled_customer_id", "unparseable_date", "implausible_date", "unparseable_quantity",
        "unparseable_price", "amount_out_of_range", "excluded_product", "duplicate_line", "zero_quantity",
        "return_dropped", "non_positive_price",
    ]  # fmt: skip


def test_every_reason_is_tried_here():
    tried = test_a_line_that_cannot_be_used_is_kept_as_delivered_with_its_reason.pytestmark[0].args[1]
    elsewhere = {"other_currency", "other_shop", "matched_return", "cancelled_purchase"}
    assert {reason for reason, *_ in tried} == set(REASONS) - elsewhere


@pytest.mark.parametrize(
    ("delivered", "customer"),
    [("17850", "17850"), ("17850.0", "17850"), ("17850.000", "17850"), ("00017", "00017"), ("00017.0", "00017"),
     ("17850.5", "17850.5"), (" A7 ", "A7"), ("A7\t", "A7"), ("\u00a0A7", "A7"), ("1e5b", "1e5b"),
     ("12e45678", "12e45678"),
     ("7E10", "7E10"), ("v1.0", "v1.0"), ("Brion Stark", "Brion Stark"), ("Nina", "Nina")],
)  # fmt: skip
def test_a_customer_id_stays_as_it_was_delivered_but_for_a_spreadsheets_decimals(clean_lines, delivered, customer):
    cleaned = clean_lines(HEADER, ["1", delivered, "2024-01-01", "P1", "2", "1.50"])
    assert cleaned.rows("customer_id") == [customer]


@pytest.mark.parametrize("word", ["nan", "NaN", "NULL", "None", "n/a", "NA", "<NA>", "#N/A", " ", "\t", "\u00a0"])
def test_a_word_for_missing_is_no_customer(clean_lines, word):
    cleaned = clean_lines(HEADER, ["1", word, "2024-01-01", "P1", "2", "1.50"])
    assert cleaned.rejected("reason") == ["missing_customer_id"]


@pytest.mark.parametrize("mangled", ["5.94773E+23", "5,94773E+23", "5.94773e+23", "1E+12", "5.9E23"])
def test_an_id_in_scientific_notation_is_mangled(clean_lines, mangled):
    assert clean_lines(HEADER, f"1 {mangled} 2024-01-01 P1 2 1.50").rejected("reason") == ["mangled_customer_id"]


def test_returns_are_negative_however_they_were_delivered(clean_lines):
    lines = [
        "1 A 2024-01-01 P1 -2 1.50",
        "C2 A 2024-01-01 P1 2 1.50",
        "C3 A 2024-01-01 P1 -2 1.50",
        "4 A 2024-01-01 P1 2 1.50",
    ]
    net = clean_lines(HEADER, *lines, settings=["cancellations=C*"])
    assert net.rows("order_id, quantity, amount, is_return") == [
        ("1", -2, -3, True), ("C2", -2, -3, True), ("C3", -2, -3, True), ("4", 2, 3, False),
    ]  # fmt: skip
    dropped = clean_lines(HEADER, *lines, settings=["cancellations=C*", "returns=drop"])
    assert dropped.rows("order_id") == ["4"]
    assert dropped.rejected() == [(row, "return_dropped") for row in (1, 2, 3)]


def test_equal_lines_of_an_order_count_once_and_the_first_delivered_stays(clean_lines):
    lines = [GOOD, "2 A 2024-01-01 P1 2 1.50", GOOD, GOOD]
    assert clean_lines(HEADER, *lines).rejected() == [(3, "duplicate_line"), (4, "duplicate_line")]
    assert clean_lines(HEADER, *lines, settings=["duplicates=keep"]).rows("source_row") == [1, 2, 3, 4]


def test_lines_that_differ_in_what_is_missing_are_no_duplicates(clean_lines):
    assert clean_lines(HEADER, GOOD, GOOD.replace("P1", "-")).rows("source_row") == [1, 2]


def test_equal_rows_without_an_order_id_are_kept_and_an_order_is_a_customers_day(clean_lines):
    line = "A 2024-01-01 P1 2 1.50"
    cleaned = clean_lines(HEADER.removeprefix("order_id "), line, line, "A 2024-01-02 P1 2 1.50")
    assert cleaned.rows("order_id") == ["A@2024-01-01", "A@2024-01-01", "A@2024-01-02"]
    blank = clean_lines(HEADER, f"- {line}", f"- {line}")
    assert blank.rows("order_id") == ["A@2024-01-01", "A@2024-01-01"]


def test_a_table_of_amounts_alone_needs_no_prices_quantities_or_products(clean_lines):
    cleaned = clean_lines("customer_id ordered_at amount", "A 2024-01-01 11.77", "A 2024-01-02 -3", "B 2024-01-02 0")
    assert cleaned.rows("customer_id, product_id, quantity, unit_price, amount, is_return") == [
        ("A", None, 1, None, Decimal("11.77"), False), ("A", None, -1, None, Decimal(-3), True),
    ]  # fmt: skip
    assert cleaned.rejected() == [(3, "non_positive_price")]


def test_a_price_goes_before_an_amount_which_fills_in_where_it_is_missing(clean_lines):
    cleaned = clean_lines("customer_id ordered_at quantity price amount", "A 2024-01-01 2 3 99", "A 2024-01-01 2 - 99")
    assert cleaned.rows("unit_price, amount") == [(3, 6), (None, 99)]


def test_free_lines_count_where_the_settings_keep_them(clean_lines):
    assert clean_lines(HEADER, "1 A 2024-01-01 P1 2 0", settings=["zero_prices=keep"]).rows("amount") == [0]


def test_products_are_excluded_by_id_and_by_pattern(clean_lines):
    products = ["POST", "POSTER", "GIFT_1", "GIFT_22", "A.C", "ABC", "B-1", "a(b"]
    lines = [f"{number} A 2024-01-01 {product} 1 1" for number, product in enumerate(products)]
    cleaned = clean_lines(HEADER, *lines, settings=["excluded_products=POST,GIFT_?,A.*,*(b"])
    assert cleaned.rejected("product_id") == ["POST", "GIFT_1", "A.C", "a(b"]


def test_no_pattern_matches_nothing(clean_lines):
    assert wildcards_to_regex(()) is None
    cleaned = clean_lines(HEADER, "1 A 2024-01-01 P1 1 1", settings=["excluded_products=", "cancellations="])
    assert cleaned.connection.execute("SELECT is_return FROM prepared.clean_orders").fetchall() == [(False,)]


def test_money_is_exact_to_the_last_digit(clean_lines):
    lines = [f"{number} A 2024-01-01 P1 3 0.1" for number in range(1000)]
    big = "x A 2024-01-01 P1 1 99999999999999.9999"
    cleaned = clean_lines(HEADER, *lines, big)
    assert cleaned.connection.execute("SELECT sum(amount) FROM prepared.clean_orders").fetchall() == [
        (Decimal("100000000000299.9999"),)
    ]


@pytest.mark.parametrize(
    ("price", "amount"), [("1e-3", "0.002"), ("+1.5", "3"), (".5", "1"), ("5.", "10"), (" 7 ", "14")]
)
def test_numbers_in_odd_forms_are_numbers(clean_lines, price, amount):
    assert clean_lines(HEADER, ["1", "A", "2024-01-01", "P1", "2", price]).rows("amount") == [Decimal(amount)]


values = st.sampled_from(
    ["", " ", "A", "B", "1", "17850.0", "1e5", "5.9E+23", "-2", "0", "1.005", "99999999999", "nan", "2024-01-05",
     "2024-02-30", "1899-01-01", "infinity", "C1", "POST", "'", '"', "\n", "é", "\u2028", "\t"]
) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=5)  # fmt: skip
fitting = {"customer_id": st.sampled_from(["A", "B"]), "ordered_at": st.just("2024-01-05"), "quantity": st.just("2"),
           "unit_price": st.sampled_from(["1.5", "0"]), "order_id": st.sampled_from(["1", "C1"])}  # fmt: skip
lines = st.tuples(*(fitting.get(column, st.just("")) | values for column in ORDER_COLUMNS))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(lines | lines.map(lambda line: line), max_size=8).map(lambda rows: rows + rows[:2]),
    returns=st.sampled_from(["net", "drop"]), duplicates=st.sampled_from(["drop", "keep"]),
)  # fmt: skip
def test_whatever_comes_each_line_is_clean_or_rejected_and_the_same_twice(rows, returns, duplicates):
    given_settings = load_settings(
        [f"returns={returns}", f"duplicates={duplicates}", "cancellations=C*", "source.date_format=iso",
         "source.currency=A", "source.shop=A"],
        environment={},
    )  # fmt: skip
    with duckdb.connect() as database:
        connection = Connection(database)
        connection.create(RAW_ORDERS)
        connection.create(DELIVERIES)
        connection.execute(
            "INSERT INTO raw.deliveries BY NAME SELECT 'f' AS source_file, 'loaded' AS status, 0 AS lines,"
            " '{\"quantity\": \"qty\"}' AS columns, 'some' AS content_hash"
        )
        for number, row in enumerate(rows, 1):
            database.execute(
                f"INSERT INTO raw.raw_orders VALUES ({'?, ' * len(ORDER_COLUMNS)}'f', ?)",
                [*(value or None for value in row), number],
            )
        runs = []
        for _ in range(2):
            clean(connection, given_settings)
            connection.execute("UPDATE raw.deliveries SET content_hash = 'changed'")
            runs.append(
                [connection.execute(f"FROM prepared.{name}").fetchall() for name in ("clean_orders", "rejected_orders")]
            )
        clean_rows, rejected_rows = runs[0]
        broken = connection.execute(
            "SELECT * FROM prepared.clean_orders WHERE order_id IS NULL OR coalesce(customer_id, '') = ''"
            " OR ordered_at IS NULL OR year(ordered_at) NOT BETWEEN 1990 AND 2100 OR coalesce(quantity, 0) = 0"
            " OR amount IS NULL OR is_return IS NULL OR is_return != (quantity < 0) OR sign(amount) != sign(quantity)"
            " OR (is_return AND $returns = 'drop') OR unit_price < 0",
            {"returns": returns},
        ).fetchall()
    assert runs[0] == runs[1]
    assert sorted(row[-1] for row in clean_rows) == sorted(
        {*range(1, len(rows) + 1)} - {row[-2] for row in rejected_rows}
    )
    assert len(clean_rows) + len(rejected_rows) == len(rows)
    assert all(row[-1] in REASONS for row in rejected_rows)
    assert broken == []


def totals(cleaned):
    return cleaned.connection.execute(
        "SELECT (SELECT count(*) FROM raw.raw_orders), (SELECT count(*) FROM prepared.rejected_orders), count(*),"
        " count(DISTINCT customer_id), count(DISTINCT order_id), sum(amount) FROM prepared.clean_orders"
    ).fetchall()[0]


def test_online_retail_gives_the_published_figures(clean_source):
    source = real_data("online_retail")
    cleaned = clean_source(source, settings=["source.preset=online_retail", "returns=drop", "duplicates=keep"])
    assert totals(cleaned) == (541_909, 541_909 - 397_884, 397_884, 4_338, 18_532, Decimal("8911407.904"))
    # The same lines under the default policies.
    clean(cleaned.connection, load_settings(["source.preset=online_retail"], environment={}))
    raw, rejected, lines_kept, customers, *_ = totals(cleaned)
    assert (raw, rejected + lines_kept, customers) == (541_909, 541_909, 4_371)


def test_cdnow_gives_the_published_figures_and_repeat_counts(clean_source):
    folder = real_data("cdnow")
    cleaned = clean_source(folder / "CDNOW_master.txt", settings=["source.preset=cdnow"])
    raw, rejected, lines_kept, customers, _, revenue = totals(cleaned)
    assert (raw, rejected, lines_kept, customers, revenue) == (69_659, 0, 69_659, 23_570, Decimal("2500315.63"))
    sample = dict(line.split()[:2] for line in (folder / "CDNOW_sample.txt").read_text().splitlines())
    counted = cleaned.connection.execute(
        "SELECT customer_id, count(DISTINCT CAST(ordered_at AS DATE)) - 1 FROM prepared.clean_orders"
        " WHERE ordered_at < DATE '1997-10-01' GROUP BY customer_id"
    ).fetchall()
    published = (folder / "cdnow_customers_summary.csv").read_text().splitlines()[1:]
    repeats = {int(line.split(",")[0]): int(float(line.split(",")[1])) for line in published}
    assert len(repeats) == 2_357
    assert {int(sample[customer]): count for customer, count in counted if customer in sample} == repeats


def test_the_orders_of_the_r_package_rfm_are_all_clean(clean_source):
    cleaned = clean_source(real_data("r_rfm"))
    raw, _, lines_kept, customers, _, revenue = totals(cleaned)
    assert (raw, lines_kept, customers, revenue) == (4_906, 4_906, 995, 464_158)


def test_a_negative_line_amount_is_a_return_even_where_quantity_and_price_are_positive(clean_lines):
    cleaned = clean_lines(
        "order_id customer_id ordered_at quantity unit_price amount",
        "1 a 2024-01-02 1 20 -20",
        "2 a 2024-01-03 2 10 20",
    )

    assert cleaned.rows("CAST(amount AS VARCHAR), is_return") == [("-20.0000", True), ("20.0000", False)]


@pytest.mark.parametrize(
    "written",
    ["2024-06-06T00:30:00Z", "2024-06-06 00:30:00 +0200", "2024-06-06T00:30:00.250-11:00", "2024-06-06 00:30:00 UTC"],
)
def test_a_time_counts_as_the_shop_wrote_it_whatever_its_offset(clean_lines, written):
    cleaned = clean_lines("customer_id ordered_at amount", ["a", written, "5"])

    assert cleaned.rows("CAST(CAST(ordered_at AS DATE) AS VARCHAR)") == ["2024-06-06"]


def test_a_format_with_an_offset_reads_the_written_time_too(clean_lines):
    cleaned = clean_lines(
        "customer_id ordered_at amount", ["a", "06.06.2024 00:30:00 +0200", "5"],
        settings=["source.date_format=%d.%m.%Y %H:%M:%S %z"],
    )  # fmt: skip

    assert cleaned.rows("CAST(ordered_at AS VARCHAR)") == ["2024-06-06 00:30:00"]


def test_decimal_commas_are_read_where_the_settings_say_so(clean_lines):
    header, line = "order_id customer_id ordered_at quantity unit_price", ["1", "a", "2024-01-02", "2", "1.045,60"]

    one_of_three = clean_lines(header, line, *["2 a 2024-01-02 1 1.5"] * 2, settings=["duplicates=keep"])
    assert one_of_three.rejected("reason") == ["unparseable_price"]
    with_commas = clean_lines(header, line, settings=["source.decimal=,"])
    assert with_commas.rows("CAST(amount AS VARCHAR)") == ["2091.2000"]


def test_decimal_commas_are_refused_if_they_are_in_most_lines(clean_lines):
    header = "order_id customer_id ordered_at quantity unit_price"
    commas, points = [[f"{n}", "a", "2024-01-02", "2", "1,60"] for n in range(4)], ["5 a 2024-01-02 1 1.5"] * 4

    few = clean_lines(header, *commas, *points, settings=["duplicates=keep"])
    assert few.rejected("reason") == ["unparseable_price"] * 4
    with pytest.raises(UsageError, match=r"row 1: '1,60' has a decimal comma; set source\.decimal=,"):
        clean_lines(header, *commas, *points[:3], settings=["duplicates=keep"])


def match_by_hand(lines):
    """Returns the numbers of the lines that are removed: each return cancels the newest equal purchase that is open."""
    left, still_open = set(), {}
    for _, _, units, place in sorted((time, units < 0, units, place) for time, units, place in lines):
        open_purchases = still_open.setdefault(abs(units), [])
        if units > 0:
            open_purchases.append(place)
        elif open_purchases:
            left |= {place, open_purchases.pop()}
    return left


steps_of_a_customer = st.lists(st.tuples(st.integers(1, 5), st.sampled_from([1, 2, -1, -1, -2])), max_size=12)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(customers=st.lists(steps_of_a_customer, max_size=10))
def test_a_return_and_the_purchase_it_cancels_both_leave(clean_lines, customers):
    steps = [(customer, *step) for customer, own in enumerate(customers) for step in own]
    lines = [
        f"{place} A{customer} 2024-01-0{day} P1 {units} 2" for place, (customer, day, units) in enumerate(steps, 1)
    ]
    other = [f"{customer} A{customer} 2024-01-01 {rest}" for customer in range(10) for rest in ("P2 1 2", "P1 1 3")]
    cleaned = clean_lines(HEADER, *lines, *other, settings=["returns=match", "source.date_format=iso"])
    places = range(1, len(steps) + 1)
    expected = set().union(
        *(match_by_hand([(*steps[place - 1][1:], place) for place in places if steps[place - 1][0] == customer])
          for customer in range(10))
    )  # fmt: skip
    reasons = {False: "cancelled_purchase", True: "matched_return"}
    assert cleaned.rejected() == [(place, reasons[steps[place - 1][2] < 0]) for place in sorted(expected)]
