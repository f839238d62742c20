"""The columns of a file are found by names in the preset or in the settings; a required one is never guessed."""

import pytest

from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.raw.columns import column_names
from seg_pipeline.settings import preset_names, read_preset


def find(header, preset="generic", overrides=None):
    found = column_names(preset, read_preset(preset), overrides or {}).find_in(header.split(","), "orders.csv")
    return ",".join(f"{column}={name}" for column, name in found.items())


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("invoice,ts,user_id,amount", "order_id=invoice,customer_id=user_id,ordered_at=ts,amount=amount"),
        ("order_id,order_date,customer_id,total",
         "order_id=order_id,customer_id=customer_id,ordered_at=order_date,amount=total"),
        ("transaction_id,created_at,customer_id,unit_spend",
         "order_id=transaction_id,customer_id=customer_id,ordered_at=created_at,amount=unit_spend"),
        ("transaction_date,customer_id,price", "customer_id=customer_id,ordered_at=transaction_date,unit_price=price"),
        ("customer_id,order_date,revenue", "customer_id=customer_id,ordered_at=order_date,amount=revenue"),
        ("Customer-ID,ORDER DATE,Unit Price", "customer_id=Customer-ID,ordered_at=ORDER DATE,unit_price=Unit Price"),
    ],
)  # fmt: skip
def test_the_generic_preset_knows_the_usual_names(header, found):
    assert find(header) == found


@pytest.mark.parametrize("preset", ["generic", "online_retail"])
@pytest.mark.parametrize(
    "header",
    ["InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
     "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country"],
)  # fmt: skip
def test_both_editions_of_online_retail_are_known(preset, header):
    order, product, text, quantity, date, price, customer, country = header.split(",")
    assert find(header, preset) == (
        f"order_id={order},customer_id={customer},ordered_at={date},product_id={product},quantity={quantity},"
        f"unit_price={price},country={country},description={text}"
    )


def test_cdnow_is_known():
    assert find("customer_id,date,number_of_cds,dollar_value", "cdnow") == (
        "customer_id=customer_id,ordered_at=date,quantity=number_of_cds,amount=dollar_value"
    )


def test_a_new_preset_is_one_new_file(tmp_path):
    preset = tmp_path / "mine.toml"
    preset.write_text('[columns]\ncustomer_id = "who"\nordered_at = ["when"]\namount = ["what"]\n')
    assert find("what,when,who", str(preset)) == "customer_id=who,ordered_at=when,amount=what"
    assert {"cdnow", "generic", "online_retail"} <= set(preset_names())


def test_a_column_that_the_settings_tell_goes_before_a_guess():
    overrides = {"customer_id": "household", "amount": "paid"}
    assert (
        find("customer_id,household,date,total,paid", overrides=overrides)
        == "customer_id=household,ordered_at=date,amount=paid"
    )


def test_a_needed_column_that_is_not_found_names_what_was_looked_for_what_is_there_and_the_nearest():
    with pytest.raises(DataError) as failure:
        find("custmer_id,date,amount")
    message = str(failure.value)
    assert message.startswith(
        "orders.csv: no column for customer_id (preset generic): looked for customer_id, customer,"
    )
    assert "; the file has custmer_id, date, amount; nearest: custmer_id" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("customer_id,amount", "ordered_at"),
        ("customer_id,date,quantity", "unit_price or amount"),
        ("", "customer_id, ordered_at, unit_price or amount"),
    ],
)
def test_customer_date_and_a_value_are_needed(header, missing):
    with pytest.raises(DataError, match=f"no column for {missing} "):
        find(header)


def test_a_first_line_of_values_is_no_header():
    with pytest.raises(DataError) as failure:
        find("A,2024-01-01,1.50")
    assert str(failure.value) == ("orders.csv: its first line holds values, not names; a header line is needed")


def test_a_header_in_another_language_is_overrides_with_what_is_near():
    with pytest.raises(DataError) as failure:
        find("kunde,datum,amount,quantitaet", "online_retail")
    assert str(failure.value) == (
        "orders.csv: no column for customer_id, ordered_at, unit_price or amount (preset online_retail): looked for"
        " CustomerID, Customer ID, InvoiceDate, UnitPrice, Price; the file has kunde, datum, amount, quantitaet;"
        " nearest: amount; name them with --set source.columns.customer_id=COLUMN --set"
        " source.columns.ordered_at=COLUMN --set source.columns.unit_price=COLUMN"
    )


def test_of_several_names_for_a_column_the_presets_order_decides_wherever_they_stand():
    found = "customer_id=customer_id,ordered_at=order_date,unit_price=price"
    assert find("email,user_id,customer_id,created_at,order_date,price") == found
    assert find("price,order_date,created_at,customer_id,user_id,email") == found


def test_two_spellings_of_one_name_want_a_setting():
    with pytest.raises(DataError) as failure:
        find("Customer ID,customer_id,date,amount")
    assert str(failure.value) == (
        "orders.csv: customer_id can be 'Customer ID' or 'customer_id'; name it with --set"
        " source.columns.customer_id=COLUMN"
    )
    overrides = {"customer_id": "Customer ID"}
    assert find("Customer ID,customer_id,date,amount", overrides=overrides).startswith("customer_id=Customer ID,")


def test_a_wide_header_is_not_listed_whole():
    with pytest.raises(DataError, match="c39 and 460 more"):
        find(",".join(f"c{number}" for number in range(500)))


def test_a_overrides_column_that_the_file_lacks_is_wrong_usage():
    with pytest.raises(UsageError, match=r"source\.columns\.customer_id: orders\.csv has no column 'who'; it has a, b"):
        find("a,b", overrides={"customer_id": "who"})


@pytest.mark.parametrize("columns", ["client = ['a']", "customer_id = 5", "customer_id = [1]"])
def test_a_preset_of_columns_that_are_none_is_wrong_usage(tmp_path, columns):
    (tmp_path / "mine.toml").write_text(f"[columns]\n{columns}\n")
    with pytest.raises(UsageError, match=r"preset .*mine\.toml"):
        find("a,b", str(tmp_path / "mine.toml"))
