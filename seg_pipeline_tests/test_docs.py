"""What the docs say is true: commands exist, links lead somewhere, queries run, and the reference is of this code."""

import re
import shlex
from pathlib import Path

import duckdb
import pytest

from seg_pipeline.cli import parser
from seg_pipeline.settings import keys
from seg_pipeline_tests.reference import FILE, reference

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in DOCS}
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
def test_every_setting_that_the_docs_set_is_one(page):
    known = set(keys())
    for key in re.findall(r"--set '?([a-z_.]+)=", TEXTS[page]):
        assert key in known or any(key.startswith(f"{mapping}.") for mapping in known), key


def test_the_reference_is_of_this_code():
    assert FILE.read_text(encoding="utf-8") == reference(), "make docs writes it anew"


def test_every_query_of_the_docs_runs_on_what_is_published(shop_run):
    queries = re.findall(r"```sql\n(.*?)```", TEXTS["docs/explore.md"], re.DOTALL)
    assert len(queries) == 5
    with duckdb.connect(str(shop_run.output / "latest" / "segments.duckdb"), read_only=True) as connection:
        rows = [len(connection.execute(query).fetchall()) for query in queries]
    segments, calls, moved, spread, columns = rows
    assert segments == spread > 2
    assert calls == 100
    assert columns > 10
    assert moved >= 0
