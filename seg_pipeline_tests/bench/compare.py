"""Compares the results of two checkouts: `make compare BASE=/path/to/other/checkout`.

Each checkout runs the demo shop, CDNOW and Online Retail; then every table of the two warehouses is compared row by
row and every published file byte by byte. Of wording only the numbers are compared. The module imports neither
checkout, so it can compare any two.

Either side may also be a folder of results, such as an earlier comparison left with `--results`:
`SHOP/w.duckdb` and `SHOP/published` for each shop.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
from duckdb.sqltypes import DuckDBPyType

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
# The last day of the demo shop, fixed so that results of today can be compared with those of another day.
DEMO_UNTIL = "2026-11-29"
DEMO = "demo"
# The real orders, with their preset; a shop whose files are absent is skipped.
REAL_SHOPS = {"cdnow": ("cdnow/CDNOW_master.txt", "cdnow"), "retail": ("online_retail", "online_retail")}
SHOPS = (DEMO, *REAL_SHOPS)
WAREHOUSE = "w.duckdb"
PUBLISHED = "published"

# Columns that may differ, or be on one side alone, by name, with the reason.
LEFT_OUT = {
    "fit_seconds": "a time, different in every run",
    "seen_modified_ns": "when the source file was written",
    "work": "a digest of the cleaning SQL, its comments included",
    "read_with": "a digest of how a file is read, its SQL included",
    "pulled_rows": "new in 0.2.0",
    "key_id": "new in 0.2.0",
}
# Columns that hold text for people, by name; only the numbers in them are compared.
WORDING = {
    "reason": "why a file was set aside, a candidate ranked or a champion replaced",
    "why": "why a champion is in force",
    "ineligible_because": "why a candidate cannot be chosen",
    "untested_because": "why there is no value test",
    "scenario": "the changed setting of a sensitivity test, in words",
    "name_reason": "why a segment has its name",
    "rule": "a segment's rule in words",
    "objective": "the aim for a segment",
    "marketing": "advice for marketing",
    "sales": "advice for sales",
    "service": "advice for customer service",
    "arithmetic": "how a budget was computed, in words",
}
# A column with one of these names that holds a code, which is compared like any other value.
CODES = {("rejected_orders", "reason")}
# A published file that may differ: the seconds of each step.
TIMINGS = "timings.csv"
REPORT = "report.html"
MANIFEST = "manifest.json"

NUMBER = r"\d+(?:[.,]\d+)*"
# The parts of the report without figures in text: its styles and script, its charts (which draw letters as shapes), and
# the package's own version.
NOT_FIGURES = re.compile(r"<head>.*?</head>|<(script|svg)\b.*?</\1>|<tr>[^\n]*seg-pipeline[^\n]*</tr>", re.DOTALL)
CELL = re.compile(r'data-value="([^"]*)"')
TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between the two results; one in wording alone is shown, but fails nothing."""

    place: str
    description: str
    wording: bool = False


def run_shops(checkout: Path, shops: Sequence[str], results: Path, python: str) -> None:
    """Runs a checkout's pipeline on each shop whose orders are there.

    Args:
        checkout: The folder that holds `seg_pipeline`.
        shops: Names from `SHOPS`.
        results: Gets a folder for each shop.
        python: The interpreter.

    Raises:
        SystemExit: a run failed.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SEG_", "DAGSTER_"))}
    environment |= {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as orders:
        for shop in shops:
            path, preset = REAL_SHOPS.get(shop, ("", "generic"))
            # The demo shop's path is relative, since the tables hold it.
            source = (DATA / path).resolve() if path else Path("shop")
            if not path:
                options = ["--until", DEMO_UNTIL, "--out", f"{orders}/shop"]
                _run([sys.executable, str(ROOT / "data" / "demo_shop.py"), *options], orders, environment)
            elif not source.exists():
                continue
            folder = (results / shop).resolve()
            folder.mkdir(parents=True)
            print(f"running {checkout} on {shop}", flush=True)
            options = ["--source", str(source), "--preset", preset, "--quiet"]
            options += ["--warehouse", str(folder / WAREHOUSE), "--output", str(folder / PUBLISHED)]
            _run([python, "-m", "seg_pipeline.cli", "run", *options], orders, environment)


def _run(command: Sequence[str], folder: str, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"compare: {' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def compare_databases(base: Path, this: Path) -> Iterator[Difference]:
    """Compares every table and view of two DuckDB files."""
    with duckdb.connect() as connection:
        for name, file in (("base", base), ("this", this)):
            connection.execute(f"ATTACH '{str(file).replace(chr(39), 2 * chr(39))}' AS {name} (READ_ONLY)")
        relations = {
            name: {
                f'"{schema}"."{relation}"'
                for schema, relation in connection.execute(
                    "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = ?", [name]
                ).fetchall()
            }
            for name in ("base", "this")
        }
        for missing in sorted(relations["base"] ^ relations["this"]):
            yield Difference(missing, f"only in {'base' if missing in relations['base'] else 'this'}")
        for relation in sorted(relations["base"] & relations["this"]):
            yield from _compare_relation(connection, relation)


def _compare_relation(connection: duckdb.DuckDBPyConnection, relation: str) -> Iterator[Difference]:
    """Compares the columns of a table or view, then its rows as a multiset."""
    place = relation.replace('"', "")
    columns = {}
    for name in ("base", "this"):
        found = connection.sql(f"FROM {name}.{relation}")
        columns[name] = {
            column: kind for column, kind in zip(found.columns, found.types, strict=True) if column not in LEFT_OUT
        }
    if list(columns["base"].items()) != list(columns["this"].items()):
        described = [", ".join(f"{name} {kind}" for name, kind in columns[side].items()) for side in ("base", "this")]
        yield Difference(place, f"columns: {described[0]} -> {described[1]}")
        return
    table = place.split(".")[1]
    compared = {name: _comparable(table, name, _quoted(name), kind) for name, kind in columns["base"].items()}
    if _differ(connection, relation, compared):
        changed = [name for name in compared if _differ(connection, relation, {name: compared[name]})]
        # No column differs by itself if the same values stand in other rows.
        shown = {name: compared[name] for name in changed or compared}
        base, this = _only(connection, relation, shown, "base"), _only(connection, relation, shown, "this")
        yield Difference(place, f"{', '.join(shown)}: for example {base} -> {this}")
        return
    for name, expression in compared.items():
        text = _quoted(name)
        if expression != text and _differ(connection, relation, {name: text}):
            yield Difference(f"{place}.{name}", "wording, with the same numbers", wording=True)


def _only(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: dict[str, str], side: str
) -> tuple[object, ...] | None:
    """Returns the first row that one side alone has; None if there is none."""
    other = "this" if side == "base" else "base"
    chosen = ", ".join(f"{expression} AS {_quoted(name)}" for name, expression in columns.items())
    return connection.execute(
        f"SELECT {chosen} FROM {side}.{relation} EXCEPT ALL SELECT {chosen} FROM {other}.{relation}"
        " ORDER BY ALL LIMIT 1"
    ).fetchone()


def _differ(connection: duckdb.DuckDBPyConnection, relation: str, columns: dict[str, str]) -> bool:
    """Whether one side has a row that the other lacks, or has it more often."""
    return any(_only(connection, relation, columns, side) for side in ("base", "this"))


def _quoted(name: str) -> str:
    return f'"{name}"'


def _comparable(table: str, name: str, expression: str, kind: DuckDBPyType) -> str:
    """Returns the SQL of what is compared of a column or field: the value, or of wording its numbers."""
    if name in WORDING and (table, name) not in CODES:
        return f"list_sort(regexp_extract_all({expression}, '{NUMBER}'))"
    if kind.id == "list" and (fields := _fields(kind)).keys() & WORDING.keys():
        parts = [
            f"'{field}': {_comparable(table, field, f'entry.{_quoted(field)}', part)}" for field, part in fields.items()
        ]
        return f"[{{{', '.join(parts)}}} FOR entry IN {expression}]"
    return expression


def _fields(kind: DuckDBPyType) -> dict[str, DuckDBPyType]:
    """Returns the fields of a list of structs; none if it is a list of something else."""
    entry = dict(kind.children)["child"]
    return dict(entry.children) if isinstance(entry, DuckDBPyType) and entry.id == "struct" else {}  # type: ignore[arg-type]


def compare_published(base: Path, this: Path) -> Iterator[Difference]:
    """Compares the files of two published sets."""
    names = [{file.name for file in folder.iterdir()} - {TIMINGS} for folder in (base, this)]
    for missing in sorted(names[0] ^ names[1]):
        yield Difference(missing, f"only in {'base' if missing in names[0] else 'this'}")
    for name in sorted(names[0] & names[1]):
        before, after = base / name, this / name
        if before.read_bytes() == after.read_bytes():
            continue
        if name.endswith(".duckdb"):
            yield from compare_databases(before, after)
        elif name.endswith((".csv", ".parquet")):
            yield _compare_rows(before, after)
        elif name == REPORT:
            yield _compare_figures(before.read_text(encoding="utf-8"), after.read_text(encoding="utf-8"))
        elif name == MANIFEST:
            if _without_digests(before) != _without_digests(after):
                yield Difference(name, f"{_without_digests(before)} -> {_without_digests(after)}")
        else:
            yield Difference(name, "bytes differ")


def _compare_rows(base: Path, this: Path) -> Difference:
    """Compares two published tables that differ somewhere, in the order of their rows."""
    table, reader = base.name.partition(".")[0], "read_csv({}, all_varchar = true)"
    if base.suffix == ".parquet":
        reader = "read_parquet({})"
    rows = []
    with duckdb.connect() as connection:
        for file in (base, this):
            relation = connection.sql(f"FROM {reader.format(repr(str(file)))}")
            chosen = ", ".join(
                f"{_comparable(table, name, _quoted(name), kind)} AS {_quoted(name)}"
                for name, kind in zip(relation.columns, relation.types, strict=True)
            )
            rows.append([relation.columns, *relation.project(chosen).fetchall()])
    if rows[0] == rows[1]:
        if set(WORDING).isdisjoint(rows[0][0]):
            return Difference(base.name, "the same rows in other bytes")
        return Difference(base.name, "wording, with the same numbers", wording=True)
    lengths = [len(side) - 1 for side in rows]
    example = next(((one, other) for one, other in zip(*rows, strict=False) if one != other), lengths)
    return Difference(base.name, f"rows: for example {example[0]} -> {example[1]}")


def _compare_figures(base: str, this: str) -> Difference:
    """Compares two reports: the values of their cells one by one, and the numbers that stand anywhere in the text."""
    pages = [NOT_FIGURES.sub("", page) for page in (base, this)]
    cells = [CELL.findall(page) for page in pages]
    if cells[0] != cells[1]:
        pairs = zip(*cells, strict=False)
        example = next(((one, other) for one, other in pairs if one != other), tuple(map(len, cells)))
        return Difference(REPORT, f"cells: for example {example[0]} -> {example[1]}")
    numbers = [set(re.findall(NUMBER, TAG.sub(" ", page))) for page in pages]
    if numbers[0] != numbers[1]:
        gone, new = sorted(numbers[0] - numbers[1])[:10], sorted(numbers[1] - numbers[0])[:10]
        return Difference(REPORT, f"numbers that are gone: {', '.join(gone)}; that are new: {', '.join(new)}")
    return Difference(REPORT, "wording, labels of charts or layout, with the same numbers", wording=True)


def _without_digests(file: Path) -> object:
    """Returns a manifest without the digests of its files, which follow from their wording."""
    manifest = json.loads(file.read_text(encoding="utf-8"))
    for entry in manifest["files"].values():
        entry.pop("sha256", None)
        entry.pop("content_sha256", None)
    return manifest


def compare(base: Path, this: Path) -> Iterator[Difference]:
    """Compares the results of a shop: its warehouse and what it published last."""
    yield from compare_databases(base / WAREHOUSE, this / WAREHOUSE)
    for difference in compare_published(base / PUBLISHED / "latest", this / PUBLISHED / "latest"):
        yield Difference(f"{PUBLISHED}/{difference.place}", difference.description, difference.wording)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs both checkouts, or takes their results, and prints how they differ.

    Returns:
        The exit status: 1 if anything but wording differs, or nothing could be compared.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="a checkout, or a folder of results")
    parser.add_argument("this", type=Path, nargs="?", default=ROOT, help="the same; this checkout unless given")
    parser.add_argument("--shops", nargs="+", choices=SHOPS, default=SHOPS)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the runs; this one unless given")
    parser.add_argument("--results", type=Path, help="folder that keeps the results, in `base` and `this`")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        sides = {"base": given.base.resolve(), "this": given.this.resolve()}
        for name, side in sides.items():
            if (side / "seg_pipeline").is_dir():
                sides[name] = (given.results or Path(folder)) / name
                run_shops(side, given.shops, sides[name], given.python)
        compared = [shop for shop in given.shops if all((side / shop / WAREHOUSE).exists() for side in sides.values())]
        differences = {shop: list(compare(sides["base"] / shop, sides["this"] / shop)) for shop in compared}
    for shop in given.shops:
        if shop not in compared:
            print(f"{shop}: skipped, no orders or no results")
            continue
        print(f"{shop}: {'differences' if differences[shop] else 'the same, byte for byte'}")
        for difference in sorted(differences[shop], key=lambda difference: difference.wording):
            print(f"  {'wording' if difference.wording else 'DIFFERS'}  {difference.place}: {difference.description}")
    found = [difference for shop in compared for difference in differences[shop]]
    return int(not compared or not all(difference.wording for difference in found))


if __name__ == "__main__":
    raise SystemExit(main())
