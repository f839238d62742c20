"""Descriptions of the prepared tables: clean orders, rejected orders with their reasons, and what was cleaned."""

from dataclasses import replace
from pathlib import Path

from seg_pipeline.raw.tables import RAW_ORDERS
from seg_pipeline.tables import Column, Rule, Table, count, day, flag, money, number, share, text

RULES = Path(__file__).parent / "rules"

REASONS = {
    "missing_customer_id": "there is no customer id",
    "mangled_customer_id": "the customer id lost digits to scientific or floating-point notation",
    "mangled_order_id": "the order id lost digits to scientific notation",
    "unparseable_date": "the date cannot be read",
    "implausible_date": "the date is outside plausible_dates",
    "unparseable_quantity": "the quantity is not a number",
    "unparseable_price": "the price or amount is not a number",
    "other_currency": "the currency is not source.currency",
    "other_shop": "the shop is not source.shop",
    "amount_out_of_range": "quantity times price has more than 14 digits",
    "duplicate_line": "the line equals an earlier line of the same order",
    "excluded_product": "the product is in excluded_products",
    "zero_quantity": "the quantity is zero",
    "return_dropped": "the line is a return, and returns=drop",
    "matched_return": "the line is a return whose purchase is rejected with it, and returns=match",
    "cancelled_purchase": "the line is a purchase that a return cancels, and returns=match",
    "non_positive_price": "the price is negative, or it is zero and zero_prices=reject",
}


def commonest_reason(limit: str) -> str:
    """Returns a query of the most common reason, which has no row unless the share of rejected lines is above a limit.

    Args:
        limit: The setting that is the limit.
    """
    reasons = (RULES / "commonest_reason.sql").read_text(encoding="utf-8")
    return (
        f"SELECT reason, lines, first_line FROM ({reasons})"
        " WHERE (SELECT count(*) FROM raw.raw_orders) - (SELECT count(*) FROM {batch})"
        f" > :{limit} * (SELECT count(*) FROM raw.raw_orders)"
    )


CLEAN_ORDERS = Table(
    "prepared.clean_orders",
    "One row per accepted order line, with typed values. Returns are negative.",
    large=True,
    columns=(
        text("order_id", "Order; customer@day if the source has no order ids"),
        text("customer_id", "Customer, the text as delivered, except that 17850.0 becomes 17850"),
        Column("ordered_at", "TIMESTAMP", "Date or time of the order, in the shop's local time"),
        text("product_id", "Product or service code", nullable=True),
        Column("quantity", "DECIMAL(18, 4)", "Units, negative for a return; 1 or -1 if the source has no quantities"),
        money("unit_price", "Price of a unit; NULL if the source has amounts only", nullable=True, min_value=0),
        money("amount", "Value of the line in the shop's currency, negative for a return"),
        flag("is_return", "Whether the line is a return or cancellation"),
        text("source_file", "File or pull that the line came from"),
        Column("source_row", "BIGINT", "Data row in that file, from 1"),
    ),
    rules=(
        Rule(
            "rows_conserved",
            "Every raw line is either clean or rejected: the number of lines and their places in the files agree.",
            RULES / "rows_conserved.sql",
        ),
        Rule(
            "no_order_day_far_ahead",
            "The last order day is at most quality.last_day_gap_days after the order day before it. A mistyped year"
            " would move the night.",
            RULES / "no_order_day_far_ahead.sql",
        ),
        Rule(
            "returns_negative",
            "The amount of a return is not positive, and the amount of a purchase is not negative.",
            "SELECT source_file, source_row, is_return, amount FROM {batch}"
            " WHERE (is_return AND amount > 0) OR (NOT is_return AND amount < 0)",
        ),
        Rule(
            "rejected_share_bearable",
            "The share of rejected lines is at most quality.rejected_share_critical.",
            commonest_reason("quality.rejected_share_critical"),
        ),
        Rule(
            "rejected_share_usual",
            "The share of rejected lines is at most quality.rejected_share_warning.",
            commonest_reason("quality.rejected_share_warning"),
            "warning",
        ),
    ),
)

REJECTED_ORDERS = Table(
    "prepared.rejected_orders",
    "One row per rejected order line, as delivered, with the first reason that applies.",
    columns=(
        *(replace(column, min_value=None) for column in RAW_ORDERS.columns),
        text(
            "reason",
            "Why: " + "; ".join(f"{name} ({meaning})" for name, meaning in REASONS.items()),
            values=tuple(REASONS),
        ),
    ),
    large=True,
    may_be_empty=True,
)

CLEANED_FILES = Table(
    "prepared.cleaned_files",
    "One row per file in clean_orders and rejected_orders, with the state in which its lines were cleaned.",
    key=("source_file",),
    columns=(
        text("source_file", "File or pull, as in raw_orders"),
        text("content_hash", "SHA-256 of the bytes that its lines came from"),
        text("work", "Digest of the settings, date formats and SQL that its lines were cleaned with"),
        text("dates", "How its dates were read"),
    ),
)

VERDICTS = ("ok", "odd", "impossible", "accepted")


def with_ratio(column: Column) -> tuple[Column, Column]:
    """Returns a figure of a day, and its ratio to the usual value."""
    words = column.description[0].lower() + column.description[1:]
    return column, number(f"{column.name}_ratio", f"Ratio to the usual value: {words}", nullable=True, min_value=0)


DAY_FIGURES = Table(
    "prepared.day_figures",
    "One row per order day and one per delivery: its figures, each with its ratio to the median of comparable days"
    " before, and what they say about the data.",
    key=("name",),
    columns=(
        text("name", "The day (2024-05-31), or the delivery, by which it is accepted"),
        day(
            "order_day",
            "The order day; for a delivery the last one of its clean lines, NULL if it has none",
            nullable=True,
        ),
        text("source_file", "File or pull, as in raw_orders; NULL for an order day", nullable=True),
        *with_ratio(count("lines", "Clean lines")),
        *with_ratio(count("orders", "Orders; NULL for a delivery", nullable=True)),
        *with_ratio(count("customers", "Customers; NULL for a delivery", nullable=True)),
        *with_ratio(money("revenue", "Value of the clean lines, net of returns", nullable=True)),
        *with_ratio(number("median_quantity", "Median of the units of a bought line", nullable=True)),
        *with_ratio(number("median_unit_price", "Median unit price of a bought line", nullable=True)),
        *with_ratio(
            share(
                "share_repriced",
                "Share of the bought lines whose price differs by more than half from the median price of their product"
                " in the month before; products that were not sold then are left out. NULL as share_repeated",
                nullable=True,
            )
        ),
        *with_ratio(number("lines_per_customer", "Lines per customer; NULL for a delivery", nullable=True)),
        *with_ratio(share("share_returned", "Share of the lines that are returns", nullable=True)),
        *with_ratio(
            share("share_new_customers", "Share of the customers who have no line on an earlier day", nullable=True)
        ),
        *with_ratio(
            share("share_known_orders", "Share of the orders that have lines on an earlier day", nullable=True)
        ),
        *with_ratio(
            share(
                "share_rejected",
                "Share of the delivered lines that were rejected; for an order day that of its deliveries",
                nullable=True,
            )
        ),
        *with_ratio(
            share(
                "share_repeated",
                "Share of the bought lines that repeat one of the same day or of the week before: same customer,"
                " product, units and amount. NULL for days that were old when they arrived",
                nullable=True,
            )
        ),
        text(
            "verdict",
            "ok; odd: a check warns; impossible: a check stops the night; accepted: somebody accepted it as it is",
            values=VERDICTS,
        ),
        text("reason", "Why it is odd or impossible", nullable=True),
        day(
            "came_after",
            "The newest night with segments when it first came; NULL if that was the first load, or if others went",
            nullable=True,
        ),
        day("seen_after", "The newest night with segments when its figures became what they are", nullable=True),
        Column("load", "INTEGER", "Number of the load in which it first came, from 1", min_value=1),
        text("digest", "Digest of its lines, by which a change is seen"),
    ),
    may_be_empty=True,
)

ACCEPTED_FIGURES = Table(
    "prepared.accepted_figures",
    "Days and deliveries that somebody accepted as they are, and who did. The table is append-only.",
    columns=(
        text("name", "As in day_figures"),
        text("digest", "Digest of its lines; if they change, they are judged again"),
        text("accepted_by", "The account on the machine that gave the command"),
        text("reason", "Why, in the words of the person", nullable=True),
        text("finding", "What was odd or impossible", nullable=True),
        day("after_night", "The newest night with segments at that time", nullable=True),
    ),
    may_be_empty=True,
)
