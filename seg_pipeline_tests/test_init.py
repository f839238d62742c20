"""`init`: what it finds out, what it asks, what it writes, and that the settings file runs."""

import json
import tomllib

import duckdb
import pytest

from seg_pipeline.cli import main
from seg_pipeline.errors import DataError
from seg_pipeline.settings import load_settings
from seg_pipeline.usecases.init import NotAskedError, propose, suggested_answer

GERMAN = ["--column=customer_id=Kunde", "--column=ordered_at=Datum", "--column=unit_price=Preis"]
QUICK = [
    *("--set", "models.algorithms=kmeans", "--set", "models.bootstraps=0", "--set", "models.gap_references=0"),
    *("--set", "models.k_max=4", "--set", "value.bootstraps=0"),
]


def answering(**answers):
    """Returns a function that answers by the last part of the key, and takes the suggested answer for the rest."""
    return lambda question: answers.get(question.key.rpartition(".")[2]) or suggested_answer(question)


def proposed(path, *overrides, ask=suggested_answer):
    """Returns the proposal for a source, and the settings that it chose."""
    proposal = propose(path.parent / "seg_pipeline.toml", [f"source.path={path}", *overrides], ask)
    return proposal, {choice.key: choice.value for choice in proposal.choices}


def written(tmp_path, text, name="orders.csv", encoding="utf-8"):
    (tmp_path / name).write_text(text, encoding=encoding)
    return tmp_path / name


def test_german_headers_semicolons_commas_and_days_first_need_no_answer(tmp_path):
    orders = written(
        tmp_path,
        "Kunden-Nr;Bestelldatum;Menge;Einzelpreis\n1;31.12.2024 10:00;2;1.234,50\n2;01.02.2025 11:30;-1;12,00\n",
    )

    proposal, chosen = proposed(orders)

    assert chosen == {"source.decimal": ","}
    assert (proposal.inspection.clean, proposal.inspection.returns, proposal.inspection.dates) == (2, 1, "day-first")


def test_unknown_headers_are_asked_for_and_semicolons_commas_and_days_first_are_detected(tmp_path):
    orders = written(
        tmp_path,
        "Wer;Wann;Stueckzahl;Je_Stueck\nMüller;31.12.2024 10:00;2;1.234,50\nMeier;01.02.2025 11:30;-1;12,00\n",
        encoding="latin-1",
    )
    names = {"customer_id": "Wer", "ordered_at": "Wann", "unit_price": "Je_Stueck", "quantity": "Stueckzahl"}

    proposal, chosen = proposed(orders, ask=answering(**names))

    assert chosen == {
        "source.encoding": "latin-1",
        "source.columns.customer_id": "Wer",
        "source.columns.ordered_at": "Wann",
        "source.columns.unit_price": "Je_Stueck",
        "source.columns.quantity": "Stueckzahl",
        "source.decimal": ",",
    }
    assert (proposal.inspection.clean, proposal.inspection.returns, proposal.inspection.dates) == (2, 1, "day-first")
    assert proposal.inspection.revenue == 2457
    assert proposal.inspection.examples[0]["customer_id"] == "Müller"


def test_a_preset_that_knows_every_column_of_the_file_is_chosen(tmp_path):
    cdnow = written(tmp_path, " customer_id  date number_of_cds  dollar_value\n 00001 19970101  1   11.77\n", "c.txt")
    retail = written(
        tmp_path,
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n",
    )
    assert proposed(cdnow)[1] == {"source.preset": "cdnow"}
    assert proposed(retail)[1] == {"source.preset": "online_retail"}


def test_columns_separated_by_blanks_are_detected(tmp_path):
    orders = written(tmp_path, "client_id day spend\nA 2024-01-02 5\nB 2024-01-03 6\n", "a.txt")
    proposal, chosen = proposed(orders)
    assert chosen == {"source.delimiter": "whitespace"}
    assert proposal.inspection.clean == 2


def test_the_currency_of_an_export_is_found_and_its_order_column_can_be_named(tmp_path):
    orders = written(
        tmp_path,
        "Name,Email,Currency,Total,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku\n"
        "#1001,a@x.org,EUR,30.00,2024-03-01 10:00:00 +0100,2,Cup,10.00,C1\n"
        "#1001,a@x.org,,,2024-03-01 10:00:00 +0100,1,Pot,10.00,P1\n",
    )
    proposal, chosen = proposed(orders, "source.columns.order_id=Name")
    assert chosen == {"strategies.currency": "EUR"}
    # The total of the order stands on its first line, and is not added to the lines.
    assert (proposal.inspection.orders, proposal.inspection.revenue) == (1, 30)


def test_the_most_frequent_of_several_currencies_is_suggested(tmp_path):
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 'c' || i AS customer_id, DATE '2024-01-02' AS order_date, 5 AS amount,"
            f" if(i < 3, 'EUR', 'CHF') AS currency FROM range(5) AS r(i)) TO '{tmp_path}/o.parquet'"
        )
    assert proposed(tmp_path)[1] == {"source.currency": "EUR", "strategies.currency": "EUR"}
    proposal, chosen = proposed(tmp_path, ask=answering(currency="CHF"))
    assert chosen == {"source.currency": "CHF", "strategies.currency": "CHF"}
    assert proposal.inspection.clean == 2


def test_ambiguous_dates_are_asked_about_and_never_guessed(tmp_path):
    orders = written(tmp_path, "customer_id,date,amount\nA,01/02/2024,5\nB,03/02/2024,6\n")
    with pytest.raises(NotAskedError, match=r"source\.date_format"):
        proposed(orders)

    asked = []

    def ask(question):
        asked.append(question)
        return "month-first" if question.key == "source.date_format" else suggested_answer(question)

    proposed(orders, ask=ask)
    (question,) = [one for one in asked if one.key == "source.date_format"]
    assert question.answers == {
        "day-first": "2 lines, 2024-02-01 to 2024-02-03",
        "month-first": "2 lines, 2024-01-02 to 2024-03-02",
    }


def test_dots_that_can_separate_thousands_are_asked_about(tmp_path):
    orders = written(tmp_path, "customer_id,date,amount\nA,2024-01-02,1.250\nB,2024-01-03,2.500\n")
    with pytest.raises(NotAskedError, match=r"source\.decimal"):
        proposed(orders)
    assert proposed(orders, ask=answering(decimal=","))[0].inspection.revenue == 3750


def test_a_table_without_a_customer_names_its_columns_and_the_option(tmp_path):
    orders = written(tmp_path, "Channel,Region,Fresh,Milk\n2,3,12669,9656\n")
    with pytest.raises(DataError, match=r"no column for customer_id.*--set source\.columns\.customer_id=COLUMN"):
        proposed(orders)


def test_a_column_that_cannot_hold_what_was_answered_is_reported_with_its_first_line(tmp_path):
    orders = written(tmp_path, "customer_id,date,amount\nA,2024-01-02,many\n")
    with pytest.raises(DataError, match=r"unparseable_price.*row 1.*--column"):
        proposed(orders)


def test_the_settings_file_gives_reasons_and_can_be_used_from_another_folder(tmp_path, monkeypatch, capsys):
    shop = tmp_path / "shop"
    shop.mkdir()
    written(shop, 'Kunde;Datum;Preis;"a = ""b"""\nA;31.12.2024;1,50;x\n')
    monkeypatch.chdir(shop)
    quoted = '--column=description=a = "b"'

    given = ["--set", "selection.k=4", "--set", "spark.config.spark.driver.memory=2g"]
    assert main(["init", "orders.csv", *GERMAN, quoted, "--no-run", *given]) == 0

    text = (shop / "seg_pipeline.toml").read_text(encoding="utf-8")
    assert '# Here: numbers are written with a decimal comma.\ndecimal = ","' in text
    assert "# Here: found day-first." in text
    assert tomllib.loads(text)["source"]["path"] == ["orders.csv"]
    assert "next: seg-pipeline run --config seg_pipeline.toml" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    settings = load_settings(config=shop / "seg_pipeline.toml", environment={})
    assert settings.source.path == (str(shop / "orders.csv"),)
    assert settings.source.columns["description"] == 'a = "b"'
    assert (settings.warehouse.path, settings.selection.k) == (shop / "warehouse.duckdb", 4)
    assert settings.spark.config == {"spark.driver.memory": "2g"}


def test_an_existing_settings_file_is_kept_without_force(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    orders = written(tmp_path, "customer_id,date,amount\nA,2024-01-02,5\n")
    (tmp_path / "seg_pipeline.toml").write_text("# mine\n")

    assert main(["init", str(orders), "--no-run"]) == 2
    assert "exists already; use it with seg-pipeline run" in capsys.readouterr().err
    assert (tmp_path / "seg_pipeline.toml").read_text() == "# mine\n"
    assert main(["init", str(orders), "--no-run", "--force"]) == 0
    assert "orders.csv" in (tmp_path / "seg_pipeline.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no orders given; name a file"),
        (["none.csv"], "none.csv: no such file"),
        (["orders.csv", "--column", "customer_id=who"], "has no column 'who'"),
        (["orders.csv", "--column", "kunde=who"], "raw_orders has no column 'kunde'"),
        (["orders.csv"], "choose with --set source.date_format=day-first"),
    ],
)
def test_every_error_is_one_line_that_says_how_to_go_on(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "customer_id,date,amount\nA,01/02/2024,5\n")
    assert main(["init", *arguments, "--no-run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error
    assert not (tmp_path / "seg_pipeline.toml").exists()


def test_on_a_terminal_it_asks_until_the_answer_is_valid(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "who,date,amount\nA,01/02/2024,5\n")
    words = iter(["7", "who", "", "month-first", "EUR"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(words))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)

    assert main(["init", "orders.csv", "--no-run"]) == 0

    settings = load_settings(config=tmp_path / "seg_pipeline.toml", environment={})
    assert settings.source.columns == {"customer_id": "who", "ordered_at": "date", "amount": "amount"}
    assert (settings.source.date_format, settings.strategies.currency) == ("month-first", "EUR")
    assert "answer 1 to 3, or with a name" in capsys.readouterr().out


def test_a_missing_answer_is_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "customer_id,date,amount\nA,01/02/2024,5\n")
    monkeypatch.setattr("builtins.input", lambda prompt: (_ for _ in ()).throw(EOFError))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(["init", "orders.csv", "--no-run"]) == 2
    assert "no answer; give it with --set source." in capsys.readouterr().err


def test_a_table_of_a_database_is_set_up_by_its_columns(postgres, tmp_path, monkeypatch, capsys):
    postgres.run(
        "DROP TABLE IF EXISTS public.sold",
        "CREATE TABLE public.sold (line_id bigint PRIMARY KEY, wer text, order_date date, amount numeric(9, 2))",
    )
    monkeypatch.setenv("SEG_PIPELINE_SOURCE_DATABASE", postgres.uri().get_secret_value())
    monkeypatch.chdir(tmp_path)
    table = ["--set", "source.table=public.sold", "--set", "source.cursor=line_id", "--no-run"]

    assert main(["init", *table]) == 1
    assert "public.sold: no column for customer_id" in capsys.readouterr().err
    assert main(["init", *table, "--column", "customer_id=wer"]) == 0

    written_file = (tmp_path / "seg_pipeline.toml").read_text(encoding="utf-8")
    assert tomllib.loads(written_file)["source"]["table"] == "public.sold"
    assert postgres.password not in written_file + capsys.readouterr().out


@pytest.fixture(scope="module")
def own_shop(tmp_path_factory):
    """A folder with 60 customers of an own table, and what init says and makes of it."""
    folder = tmp_path_factory.mktemp("own")
    lines = [
        f"K{number:02};{1 + order * 3 % 28:02}.{1 + order % 9:02}.2024;{1 + number % 4};{5 + number * order % 40},90"
        for number in range(60)
        for order in range(1 + number % 7)
    ]
    written(folder, "\n".join(["Kunde;Datum;Menge;Preis", *lines]) + "\n")
    return folder


@pytest.mark.whole_run
def test_init_runs_and_later_nights_use_its_settings_file(own_shop, monkeypatch, capsys):
    monkeypatch.chdir(own_shop)
    assert main(["init", "orders.csv", *GERMAN, "--column=quantity=Menge", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "source.decimal = ,: numbers are written with a decimal comma" in out
    assert "report:    " in out
    assert "\x1b" not in out
    assert (own_shop / "published/latest/segment_assignments.csv").exists()

    assert main(["run", "--config", "seg_pipeline.toml", "--json"]) == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert sum(row["customers"] for row in document["segments"]) == 60
    assert (document["as_of"], document["fit"], document["decision"]) == ("2024-07-20", None, None)
    assert document["seconds"].keys() >= {"raw", "segments", "in_all"}
    assert "raw " in shown.err

    assert main(["backfill", "2024-05-02", "--config", "seg_pipeline.toml", "--json", "--verbose"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["nights"] == ["2024-05-02"]
    assert "segments.segment_strategies" in shown.err
    assert "2024-05-02 " in shown.err

    assert main(["erase", "K06", "K06", "--config", "seg_pipeline.toml", "--json", "--quiet"]) == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert (document["customers"], document["rows"]["raw.raw_orders"]) == (["K06"], 7)
    assert [line for line in shown.err.splitlines() if not line.startswith("warning: ")] == []
