"""What the docs say is true: commands exist, links lead somewhere, queries run, and the reference is of this code."""

import re
import shlex
from pathlib import Path

import duckdb
import pytest

from seg_pipeline.cli import main, parser
from seg_pipeline.guest import tables_of
from seg_pipeline.settings import keys, load_settings
from seg_pipeline.wiring import Shop
from seg_pipeline_tests.reference import FILE, PAGES, reference, with_counts

ROOT = Path(__file__).parents[1]
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in (*PAGES, FILE)}
INDENTED = re.compile(r"^    (?:.venv/bin/)?(seg-pipeline .*)$", re.MULTILINE)
WITHIN_A_LINE = re.compile(r"`(?:.venv/bin/)?(seg-pipeline [^`]*)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# What stands for a value of the reader's.
PLACEHOLDERS = {"FIRST": "2026-01-01", "LAST": "2026-01-02", "DATE": "2026-01-01"}


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text):
    found = [*INDENTED.findall(text), *WITHIN_A_LINE.findall(text)]
    return [words for line in found if len(words := shlex.split(line.replace("\n", " "), comments=True)) > 1]


def is_understood(given):
    try:
        parser().parse_args(given)
    except SystemExit as ended:
        return not ended.code
    return True


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_in_the_docs_is_one(page):
    for words in commands(TEXTS[page]):
        given = [PLACEHOLDERS.get(word, word) for word in words[1:] if word != "..."]
        if len(given) == 1 and given[0] not in ("run", "champions"):
            given.append("--help")
        assert is_understood(given), " ".join(words)


@pytest.mark.whole_run
def test_the_commands_of_the_tutorial_lead_from_a_file_to_a_customers_segment(shop, tmp_path, monkeypatch, capsys):
    begin, _, look_closer = TEXTS["docs/tutorial.md"].partition("## 3.")
    first = commands(begin)[0]
    assert first[1] == "init"
    days = sorted(shop.glob("*.csv"))
    # One file under one heading.
    lines = [
        days[0].read_text(encoding="utf-8"),
        *(day.read_text(encoding="utf-8").split("\n", 1)[1] for day in days[1:]),
    ]
    (tmp_path / "orders.csv").write_text("".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEG_PIPELINE_MODELS_BOOTSTRAPS", "3")

    assert main(first[1:]) == 0
    with duckdb.connect("published/latest/segments.duckdb", read_only=True) as connection:
        customer, segment = connection.execute("SELECT customer_id, segment_name FROM customers").fetchall()[0]
    capsys.readouterr()
    for words in commands(look_closer)[:2]:
        assert main([customer if word == "17850" else word for word in words[1:]]) == 0
    shown = capsys.readouterr().out
    assert customer in shown and segment in shown


@pytest.mark.parametrize("page", TEXTS)
def test_every_make_target_in_the_docs_is_one(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"`make ([a-z-]+)|^    (?:\S+=\S+ )?make ([a-z-]+)", TEXTS[page], re.MULTILINE)
    assert {one or other for one, other in named} <= targets


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_leads_to_a_file_or_heading_that_is_there(page):
    for link in LINK.findall(TEXTS[page]):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", TEXTS)
def test_every_setting_that_the_docs_set_or_name_is_one(page):
    known = set(keys())
    sections = {key.partition(".")[0] for key in known if "." in key}
    named = re.findall(r"`([a-z_]+\.[a-z_.]+)(?:=[^`]*)?`", TEXTS[page])
    # Rooms and files have names of sections too.
    others = {table.name for table in tables_of(Shop(load_settings(environment={})))}
    settings = [
        name
        for name in named
        if name.partition(".")[0] in sections and name not in others and not name.endswith((".py", ".duckdb", ".html"))
    ]
    for key in [*settings, *re.findall(r"--set '?([a-z_.]+)=", TEXTS[page])]:
        assert key in known or any(key.startswith(f"{mapping}.") for mapping in known), key


def test_the_reference_is_of_this_code():
    assert FILE.read_text(encoding="utf-8") == reference(), "make docs writes it"


@pytest.mark.parametrize("page", TEXTS)
def test_every_count_in_the_docs_is_of_this_code(page):
    assert TEXTS[page] == with_counts(TEXTS[page]), "make docs writes it"


def test_every_file_that_contributing_says_to_edit_is_there():
    table = TEXTS["CONTRIBUTING.md"].partition("## Where to add what")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.count("|") == 3]
    files = [re.findall(r"`([\w/]+(?:\.\w+|/))`", row) for row in rows]
    assert max(map(len, files)) <= 4
    assert [name for row in files for name in row if not (ROOT / "seg_pipeline" / name).exists()] == []


def test_the_release_of_dagsters_postgresql_storage_is_that_of_the_pinned_dagster():
    pinned = re.findall(
        r"^dagster-duckdb==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert re.findall(r"dagster-postgres==(\S+)", TEXTS["docs/operations.md"]) == pinned


def test_every_query_of_the_docs_finds_rows_in_what_is_published(week_after):
    queries = re.findall(r"```sql\n(.*?)```", TEXTS["docs/explore.md"], re.DOTALL)
    assert queries
    with duckdb.connect(str(week_after.output / "latest" / "segments.duckdb"), read_only=True) as connection:
        for query in queries:
            assert connection.execute(query).fetchall(), query
