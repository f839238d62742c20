"""The tables of this room."""

from dataclasses import replace

from seg_pipeline.raw.tables import RAW_ORDERS
from seg_pipeline.tables import Column, Rule, Table

REASONS = {
    "missing_customer_id": "no customer id",
    "mangled_customer_id": "the customer id lost its digits to scientific notation or floating point",
    "mangled_order_id": "the order id lost its digits to scientific notation",
    "unparseable_date": "the date cannot be read",
    "implausible_date": "the date is outside plausible_dates",
    "unparseable_quantity": "the quantity is no number",
    "unparseable_price": "the price or amount is no number",
    "other_currency": "the currency is not source.currency",
    "other_shop": "the shop is not source.shop",
    "amount_out_of_range": "quantity times price has more than 14 digits",
    "duplicate_line": "equal to an earlier line of the same order",
    "excluded_product": "the product is in excluded_products",
    "zero_quantity": "nothing was bought",
    "return_dropped": "a return, and returns=drop",
    "matched_return": "a return of a purchase, which leaves with it, and returns=match",
    "cancelled_purchase": "a purchase that a return cancels, and returns=match",
    "non_positive_price": "a price below zero, or of zero and zero_prices=reject",
}

# Names what is wrong most often, with the first such line, where too many lines are rejected.
COMMONEST_REASON = (
    "SELECT reason, lines, first_line FROM (SELECT reason, count(*) AS lines,"
    " arg_min(source_file || ' row ' || source_row || ': '"
    " || concat_ws(', ', customer_id, ordered_at, quantity, unit_price, amount), (source_file, source_row))"
    " AS first_line FROM prepared.rejected_orders GROUP BY reason ORDER BY lines DESC, reason LIMIT 1)"
    " WHERE (SELECT count(*) FROM raw.raw_orders) - (SELECT count(*) FROM {batch})"
)

CLEAN_ORDERS = Table(
    "prepared.clean_orders",
    "One row per order line that counts, with typed values. Returns are negative.",
    large=True,
    columns=(
        Column("order_id", "VARCHAR", "Order; customer@day where the source has no order ids"),
        Column("customer_id", "VARCHAR", "Customer, text as delivered; 17850.0 is 17850"),
        Column("ordered_at", "TIMESTAMP", "Date or time of the order, in the shop's time"),
        Column("product_id", "VARCHAR", "Product or service code", nullable=True),
        Column("quantity", "DECIMAL(18, 4)", "Units, negative for a return; 1 or -1 where none are delivered"),
        Column(
            "unit_price",
            "DECIMAL(18, 4)",
            "Price of a unit; NULL where only amounts are delivered",
            nullable=True,
            min_value=0,
        ),
        Column("amount", "DECIMAL(18, 4)", "Value of the line in the shop's currency, negative for a return"),
        Column("is_return", "BOOLEAN", "A return or cancellation"),
        Column("source_file", "VARCHAR", "File that brought the line"),
        Column("source_row", "BIGINT", "Data row in that file, from 1"),
    ),
    rules=(
        Rule(
            "rows_conserved",
            "Every raw line is either clean or rejected: the counts add up, and so do the places the lines came from.",
            "SELECT * FROM (SELECT count(*) AS raw, sum(CAST(hash(source_file, source_row) AS HUGEINT)) AS raw_places"
            " FROM raw.raw_orders), (SELECT count(*) AS prepared, sum(CAST(hash(source_file, source_row) AS HUGEINT))"
            " AS prepared_places FROM (SELECT source_file, source_row FROM {batch} UNION ALL"
            " SELECT source_file, source_row FROM prepared.rejected_orders))"
            " WHERE raw != prepared OR raw_places != prepared_places",
        ),
        Rule(
            "no_order_day_far_ahead",
            "The last order day does not stand alone, far after all others (quality.last_day_gap_days): a mistyped year"
            " would move the night.",
            "SELECT last_day, day_before FROM"
            " (SELECT max(day) AS last_day, max(day) FILTER (place > 1) AS day_before"
            " FROM (SELECT day, row_number() OVER (ORDER BY day DESC) AS place FROM"
            " (SELECT DISTINCT CAST(ordered_at AS DATE) AS day FROM {batch})))"
            " WHERE date_diff('day', day_before, last_day) > :quality.last_day_gap_days",
        ),
        Rule(
            "returns_negative",
            "A return's amount is not above zero, a purchase's not below.",
            "SELECT * FROM {batch} WHERE (is_return AND amount > 0) OR (NOT is_return AND amount < 0)",
        ),
        Rule(
            "rejected_share_bearable",
            "The share of rejected lines is at most quality.rejected_share_critical.",
            COMMONEST_REASON + " > :quality.rejected_share_critical * (SELECT count(*) FROM raw.raw_orders)",
        ),
        Rule(
            "rejected_share_usual",
            "The share of rejected lines is at most quality.rejected_share_warning.",
            COMMONEST_REASON + " > :quality.rejected_share_warning * (SELECT count(*) FROM raw.raw_orders)",
            "warning",
        ),
    ),
)

REJECTED_ORDERS = Table(
    "prepared.rejected_orders",
    "One row per order line that does not count, as delivered, with the first reason that applies.",
    columns=(
        *(replace(column, min_value=None) for column in RAW_ORDERS.columns),
        Column(
            "reason",
            "VARCHAR",
            "Why: " + "; ".join(f"{name} ({meaning})" for name, meaning in REASONS.items()),
            values=tuple(REASONS),
        ),
    ),
    large=True,
    may_be_empty=True,
)

CLEANED_FILES = Table(
    "prepared.cleaned_files",
    "What clean_orders and rejected_orders were made of: one row per file, with the work that was done on its lines.",
    key=("source_file",),
    columns=(
        Column("source_file", "VARCHAR", "File, as its lines name it"),
        Column("content_hash", "VARCHAR", "SHA-256 of the bytes that its lines came from"),
        Column("work", "VARCHAR", "Digest of the settings and of the SQL that cleaned them"),
        Column("dates", "VARCHAR", "How their dates were read"),
    ),
)
