"""Writes docs/reference.md and the counts in the other pages from the code. `make docs` runs it.

The reference has every setting, table and published view. A count is written between comments that name it, such as
`<!--checks-->5<!--/checks-->`. A test compares both with the code.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from seg_pipeline.guest import definitions_of, rooms_of, tables_of
from seg_pipeline.models.tables import CANDIDATES
from seg_pipeline.publishing.tables import PUBLISHED_TABLES
from seg_pipeline.publishing.views import VIEWS
from seg_pipeline.settings import PRESETS, Settings, keys, load_settings, read_preset
from seg_pipeline.tables import Column, Table
from seg_pipeline.wiring import Shop

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "reference.md"
# The pages that people write.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted({*(ROOT / "docs").rglob("*.md")} - {FILE})]
SHOP = Shop(load_settings(environment={}))
COUNT = re.compile(r"<!--(\w+)-->[^<]*<!--/\1-->")

# In JSON schema, and in words.
BOUNDS = {"minimum": "from", "exclusiveMinimum": "over", "maximum": "to", "exclusiveMaximum": "under"}

INTRODUCTION = """\
# Reference

This page is written from the code by `make docs`; do not edit it.

- [Settings](#settings)
- [Columns that the presets know](#columns-that-the-presets-know)
- [Published tables and views](#published-tables-and-views)
- [Tables of the warehouse](#tables-of-the-warehouse)

## Settings

Later beats earlier: defaults, the preset's settings, the settings file (TOML, `--config FILE` or
`SEG_PIPELINE_CONFIG`), the environment, `--set KEY=VALUE`. The key `models.k_max` is `k_max` in the section `[models]`
of the file, and `SEG_PIPELINE_MODELS_K_MAX` in the environment. The items of a list are separated by commas. A mapping
has a key for each entry, such as `features.transform.monetary=log1p`. An unknown key is an error that names the nearest
one.

Secrets are not settings, because settings are shown and stored. They are only in the environment:
`SEG_PIPELINE_OUTPUT_HASH_KEY` (see `output.customer_ids`), `SEG_PIPELINE_SOURCE_DATABASE` (see `source.table`) and
`SEG_PIPELINE_ERASURE_KEY` (see `seg-pipeline erase --help`). So is a webhook's address:
`SEG_PIPELINE_AUTOMATION_WEBHOOK_URL`.
"""


def reference() -> str:
    """Returns docs/reference.md."""
    return "\n".join([INTRODUCTION, *_settings(), *_presets(), *_published(), *_warehouse()]) + "\n"


def with_counts(page: str) -> str:
    """Returns a page with its counts as the code has them."""
    return COUNT.sub(lambda count: f"<!--{count[1]}-->{counts()[count[1]]}<!--/{count[1]}-->", page)


@cache
def counts() -> dict[str, int]:
    """Returns the counts that a page may state, by name."""
    return {
        "checks": len(definitions_of(SHOP).resolve_asset_graph().asset_check_keys),
        "rooms": len(rooms_of(SHOP)),
        "settings": len(keys()),
        "tables": len(tables_of(SHOP)),
        "views": len(VIEWS),
    }


def _settings() -> Iterator[str]:
    whole = Settings.model_fields
    sections = {
        name: field.annotation
        for name, field in whole.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    yield "### General\n"
    yield from _keys(Settings, "")
    for name, section in sections.items():
        yield f"### {name}\n"
        yield f"{section.__doc__}\n"
        yield from _keys(section, f"{name}.")


def _keys(section: type[BaseModel], prefix: str) -> Iterator[str]:
    schema = section.model_json_schema()["properties"]
    rows = [
        (f"`{prefix}{name}`", _default(field.default), _allowed(schema[name]), field.description or "")
        for name, field in section.model_fields.items()
        if not isinstance(field.default, BaseModel)
    ]
    yield from _table(("key", "default", "values", "meaning"), rows)


def _default(value: Any) -> str:
    """Returns a default as it is written after `--set KEY=`."""
    if value is None or value in ((), {}, ""):
        return "none"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    if isinstance(value, dict):
        return f"`{value['default']}`"
    assert value is not PydanticUndefined
    return f"`{value}`"


def _allowed(schema: dict[str, Any]) -> str:
    """Returns the values that a setting may have, from its JSON schema."""
    # An optional setting is anyOf a type and null.
    kind = next((part for part in schema.get("anyOf", ()) if part.get("type") != "null"), schema)
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    return " ".join(f"{word} {kind[bound]}" for bound, word in BOUNDS.items() if bound in kind)


def _presets() -> Iterator[str]:
    yield "## Columns that the presets know\n"
    yield (
        "Case, spaces and punctuation do not matter: `Order ID` is `order_id`. For each column of raw_orders, the first"
        " name that the source has is used; `source.columns` overrides it.\n"
    )
    for file in sorted(PRESETS.glob("*.toml")):
        preset = read_preset(file.stem)
        yield f"### Preset {file.stem}\n"
        yield f"{preset['description']}.\n"
        rows = [
            (f"`{column}`", ", ".join(f"`{name}`" for name in ([names] if isinstance(names, str) else names)))
            for column, names in preset.get("columns", {}).items()
        ]
        yield from _table(("column", "names"), rows)
        if settings := preset.get("settings"):
            yield "Its settings: " + ", ".join(f"`{key}={value}`" for key, value in settings.items()) + ".\n"


def _published() -> Iterator[str]:
    yield "## Published tables and views\n"
    yield (
        "`published/latest` has the night's rows of these tables as `.parquet` and `.csv`, and all of them in"
        " `segments.duckdb`, under their names without the schema: "
        + ", ".join(_link(table) for table in PUBLISHED_TABLES)
        + ". The database also has these views; [explore.md](explore.md) has queries to begin with.\n"
    )
    for view in VIEWS:
        yield f"### View {view.name}\n"
        yield f"{view.description}\n"
        yield from _table(("column", "meaning"), [(f"`{column.name}`", column.description) for column in view.columns])


def _link(table: Table) -> str:
    return f"[{table.short_name}](#{table.name.replace('.', '')})"


def _warehouse() -> Iterator[str]:
    yield "## Tables of the warehouse\n"
    yield (
        "From features on, a table holds one set of rows per night, and `as_of` is its first column. A column has no"
        " NULL unless it says so. A broken critical rule stops everything downstream of the table; a broken warning is"
        " shown and stops nothing. The key and the bounds and values of columns are checked too, and are critical.\n"
    )
    known = {table.name: table for table in tables_of(SHOP)}
    # Each algorithm has a table of candidates, and they are all alike.
    first, *others = CANDIDATES.values()
    for table in known.values():
        if table == first:
            yield from _described(table, ", ".join(candidates.name for candidates in CANDIDATES.values()))
        elif table not in others:
            yield from _described(table, table.name)


def _described(table: Table, heading: str) -> Iterator[str]:
    yield f"### {heading}\n"
    key = ", ".join(f"`{name}`" for name in (*(("as_of",) if table.nightly else ()), *table.key))
    yield table.description + (f" Key: {key}." if key else "") + "\n"
    rows = [(f"`{column.name}`", column.type, _meaning(column)) for column in table.columns]
    yield from _table(("column", "type", "meaning"), rows)
    if table.rules:
        rules = [(f"`{rule.name}`", rule.severity, rule.description) for rule in table.rules]
        yield from _table(("check", "severity", "what it checks"), rules)


def _meaning(column: Column) -> str:
    low, high = column.min_value, column.max_value
    notes = [
        f"{low:g} to {high:g}" if low is not None and high is not None else "",
        f"from {low:g}" if low is not None and high is None else "",
        f"to {high:g}" if low is None and high is not None else "",
        "one of " + ", ".join(f"`{value}`" for value in column.values) if column.values else "",
        "may be NULL" if column.nullable else "",
    ]
    constraints = "; ".join(note for note in notes if note)
    return column.description + (f" ({constraints})" if constraints else "")


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
    for page in PAGES:
        page.write_text(with_counts(page.read_text(encoding="utf-8")), encoding="utf-8")
