"""The house keeps its shape: rooms in order, one reader of the environment, one door to Dagster per room."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import seg_pipeline
from seg_pipeline.definitions import defs
from seg_pipeline.models.registry import BASELINE
from seg_pipeline.tables import Table

HOUSE = Path(seg_pipeline.__file__).parent
ROOMS = ("raw", "prepared", "features", "models", "evaluation", "champions", "segments", "publishing")
FILES = sorted(HOUSE.rglob("*.py"))


def imports_of(file):
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def room_of(file):
    return next((part for part in file.relative_to(HOUSE).parts if part in ROOMS), None)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_a_room_imports_only_rooms_before_it(file):
    room = room_of(file)
    imported = {name.split(".")[1] for name in imports_of(file) if name.startswith("seg_pipeline.")} & set(ROOMS)

    if room is None:
        # What the rooms share knows no room; only what puts them together does.
        above = ("definitions", "automation")
        assert not imported or file.stem in above or file.parent.name in ("cli", "usecases", "plotting")
    else:
        assert imported <= set(ROOMS[: ROOMS.index(room) + 1])


@pytest.mark.parametrize(
    "file", [file for file in FILES if room_of(file)], ids=lambda file: str(file.relative_to(HOUSE))
)
def test_only_the_door_of_a_room_knows_dagster(file):
    if file.name != "assets.py":
        assert not any(name.split(".")[0] == "dagster" for name in imports_of(file))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_the_environment_is_read_in_the_settings_alone(file):
    if file.stem != "settings":
        text = file.read_text(encoding="utf-8")
        assert "getenv" not in text
        # Setting a switch that a library reads while it is imported is no reading.
        assert text.replace("os.environ.setdefault", "").find("os.environ") == -1


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_only_the_warehouse_knows_spark(file):
    if file.parent.name != "warehouse":
        assert not {"pyspark", "sqlglot"} & {name.split(".")[0] for name in imports_of(file)}


def test_the_baseline_is_named_in_its_own_file_alone():
    texts = {
        str(file.relative_to(HOUSE)): file.read_text(encoding="utf-8")
        for file in HOUSE.rglob("*")
        if file.suffix in {".py", ".sql", ".j2", ".toml"}
    }
    own = "models/algorithms/rfm_grid.py"

    assert [name for name, text in texts.items() if BASELINE in text.replace(f"algorithms.{BASELINE} import", "")] == [
        own
    ]
    assert [name for name, text in texts.items() if f"algorithms.{BASELINE} import" in text] == ["models/registry.py"]


def tables():
    for room in ROOMS:
        module = importlib.import_module(f"seg_pipeline.{room}.tables")
        for value in vars(module).values():
            if isinstance(value, Table):
                yield value
            elif isinstance(value, dict):
                yield from (entry for entry in value.values() if isinstance(entry, Table))


def test_every_table_is_an_asset_with_description_owner_kinds_schema_and_checks():
    graph = defs.resolve_asset_graph()
    known = {table.name: table for table in tables()}
    for name, table in known.items():
        spec = next(spec for spec in defs.resolve_all_asset_specs() if spec.key.path == table.asset_key)
        assert spec.group_name in ROOMS
        assert spec.description
        assert spec.owners
        assert {"duckdb"} < spec.kinds
        assert [column.name for column in spec.metadata["dagster/column_schema"].columns] == [
            column.name for column in table.columns
        ], name
        assert graph.get_check_keys_for_assets({spec.key}), name
    assets = {".".join(key.path) for key in graph.get_all_asset_keys()}
    assert assets == {*known, "segments.published_files"}


def test_nightly_tables_begin_with_as_of_and_every_column_has_a_meaning():
    for table in tables():
        assert (table.columns[0].name == "as_of") == table.nightly, table.name
        assert all(column.description for column in table.columns), table.name


def test_every_asset_links_its_door_and_the_sql_of_its_name():
    links = {
        ".".join(spec.key.path): {
            Path(link.file_path).name for link in spec.metadata["dagster/code_references"].code_references
        }
        for spec in defs.resolve_all_asset_specs()
    }

    assert all("assets.py" in names for names in links.values())
    assert sorted(name for names in links.values() for name in names - {"assets.py"}) == [
        "clean_orders.sql",
        "rejected_orders.sql",
        "rfm_features.sql",
        "segment_migration.sql",
        "segment_moves.sql",
        "segment_profiles.sql",
    ]


def test_the_ui_loads_nothing_that_only_a_run_needs():
    program = (
        "import sys, seg_pipeline.definitions;"
        "print(sorted({'pandas', 'scipy', 'sklearn', 'matplotlib', 'great_expectations', 'babel', 'pyspark',"
        " 'sqlglot', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
