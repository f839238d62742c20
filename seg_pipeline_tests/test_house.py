"""The house keeps its shape: rooms in order, no circle, one reader of the environment, one door to Dagster per room."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import seg_pipeline
from seg_pipeline.guest import definitions_of, rooms_of
from seg_pipeline.models.registry import BASELINE
from seg_pipeline.raw.sources.registry import KINDS
from seg_pipeline.settings import load_settings
from seg_pipeline.wiring import Shop

HOUSE = Path(seg_pipeline.__file__).parent
FILES = sorted(HOUSE.rglob("*.py"))
SOURCES = HOUSE / "raw" / "sources"
TESTS = Path(__file__).parent
TOOLS = [*sorted((TESTS / "bench").glob("*.py")), TESTS / "reference.py", TESTS / "samples.py"]
ROOMS = ("raw", "prepared", "features", "models", "evaluation", "champions", "segments", "publishing")
# From the ground floor up. A module may import from its own floor and from the floors below.
FLOORS = (
    {"errors", "nights", "tables", "interrupts", "settings", "preloading", "plotting"},
    {"warehouse"},
    {"quality"},
    {"ui", "wiring"},
    *({room} for room in ROOMS),
    {"automation"},
    {"guest"},
    {"usecases"},
    {"cli"},
    # Read by Dagster alone.
    {"definitions"},
)
WITHOUT_DAGSTER = {"errors", "nights", "tables", "interrupts", "settings", "plotting", "warehouse", "quality"}
SHOP = Shop(load_settings(environment={}))


def imports_of(text: str) -> Iterator[str]:
    """What a file imports, with the module it is from, wherever in the file and for types alone as well."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(file: Path) -> str:
    """The part of the house that a file is in: its folder's name, or its own if it lies in none."""
    return file.relative_to(HOUSE).parts[0].removesuffix(".py")


def floor_of(part: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if part in floor)


def wrong_imports(part: str, text: str) -> list[str]:
    """What a file of a part of the house imports of the parts above it."""
    parts = {name.split(".")[1] for name in imports_of(text) if name.startswith("seg_pipeline.")}
    known = {part for floor in FLOORS for part in floor}
    return sorted(one for one in parts & known if floor_of(one) > floor_of(part))


def circle_among(imports: dict[str, set[str]]) -> list[str]:
    """A way from a module back to itself; empty if there is none."""
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for other in sorted(imports[module]):
            if found := walk(other, [*way, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(imports) if (found := walk(module, []))), [])


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports_among(texts: dict[str, str]) -> dict[str, set[str]]:
    """What each module imports of the others; a package is what its own file says."""

    def home_of(name: str) -> str:
        while name and name not in texts:
            name = name.rpartition(".")[0]
        return name

    return {module: {home_of(name) for name in imports_of(text)} - {"", module} for module, text in texts.items()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_nothing_imports_a_part_of_the_house_above_it(file):
    if part_of(file) != "__init__":
        assert wrong_imports(part_of(file), file.read_text(encoding="utf-8")) == []


def test_no_module_imports_itself_in_a_circle():
    assert circle_among(imports_among({module_of(file): file.read_text(encoding="utf-8") for file in FILES})) == []


@pytest.mark.parametrize(
    "line",
    [
        "from seg_pipeline.segments.tables import SEGMENT_PROFILES",
        "def late():\n    from seg_pipeline.segments import migration",
        "if TYPE_CHECKING:\n    import seg_pipeline.segments.assignment",
    ],
)
def test_an_import_of_a_later_room_is_found_late_and_for_types_alone_as_well(line):
    assert wrong_imports("champions", line) == ["segments"]
    assert wrong_imports("publishing", line) == []


def test_a_circle_is_found_for_types_alone_as_well():
    texts = {"p.a": "import p.b", "p.b": "from p import c", "p.c": "if TYPE_CHECKING:\n    from p.a import x"}

    assert circle_among(imports_among(texts)) == ["p.a", "p.b", "p.c", "p.a"]
    assert circle_among(imports_among(texts | {"p.c": ""})) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_dagster_is_known_to_the_doors_of_rooms_and_above_them_alone(file):
    part = part_of(file)
    if part in WITHOUT_DAGSTER or (part in ROOMS and file.name != "assets.py"):
        assert not {name for name in imports_of(file.read_text(encoding="utf-8")) if name.startswith("dagster")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_the_environment_is_read_in_the_settings_alone(file):
    if part_of(file) != "settings":
        text = file.read_text(encoding="utf-8")
        assert "getenv" not in text
        # Setting a switch that a library reads while it is imported is no reading.
        assert text.replace("os.environ.setdefault", "").find("os.environ") == -1


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_only_the_warehouse_knows_spark(file):
    if part_of(file) != "warehouse":
        names = {name.split(".")[0] for name in imports_of(file.read_text(encoding="utf-8"))}
        assert not {"pyspark", "sqlglot"} & names


def source_modules_in(file):
    """The modules of raw/sources that a file imports, by their own names."""
    within = {f"seg_pipeline.raw.sources.{module.stem}": module.name for module in SOURCES.glob("*.py")}
    names = imports_of(file.read_text(encoding="utf-8"))
    return {within[module] for name in names for module in (name, name.rpartition(".")[0]) if module in within}


@pytest.mark.parametrize(
    "file", [file for file in FILES if SOURCES not in file.parents], ids=lambda file: str(file.relative_to(HOUSE))
)
def test_nothing_outside_the_sources_knows_a_kind_of_source(file):
    assert not source_modules_in(file)


def test_a_kind_of_source_is_known_to_the_registry_alone():
    kinds = {f"{type(kind).__module__.split('.')[-1]}.py" for kind in KINDS}

    assert len(kinds) == len(KINDS)
    assert {file.name for file in SOURCES.glob("*.py") if source_modules_in(file) & kinds} == {"registry.py"}


@pytest.mark.parametrize("file", TOOLS, ids=lambda file: str(file.relative_to(TESTS)))
def test_the_benches_and_the_reference_import_no_test_files(file):
    names = imports_of(file.read_text(encoding="utf-8"))
    parts = {part for name in names if name.startswith("seg_pipeline_tests") for part in name.split(".")}
    assert not {part for part in parts if part.startswith("test_")} | (parts & {"conftest", "whole_runs"})


def test_the_baseline_is_named_in_its_own_file_and_the_registry_alone():
    texts = {
        str(file.relative_to(HOUSE)): file.read_text(encoding="utf-8")
        for file in HOUSE.rglob("*")
        if file.suffix in {".py", ".sql", ".j2", ".toml"}
    }
    naming = sorted(name for name, text in texts.items() if BASELINE in text)

    assert naming == ["models/algorithms/rfm_grid.py", "models/registry.py"]
    assert BASELINE not in texts["models/registry.py"].replace(f"models.algorithms.{BASELINE} import", "")


@pytest.mark.parametrize("room", ROOMS)
def test_the_door_of_a_room_is_short(room):
    assert len((HOUSE / room / "assets.py").read_text(encoding="utf-8").splitlines()) <= 250


def test_the_assets_of_a_room_are_its_group_and_every_table_has_description_owner_kinds_columns_and_checks():
    graph = definitions_of(SHOP).resolve_asset_graph()
    assert [room.name for room in rooms_of(SHOP)] == list(ROOMS)
    for room in rooms_of(SHOP):
        for spec in (spec for asset in room.assets for spec in asset.specs):
            assert spec.group_name == room.name
            assert spec.description
            assert spec.owners
            assert "duckdb" in spec.kinds and len(spec.kinds) > 1
            assert graph.get_check_keys_for_assets({spec.key}), spec.key
            if table := room.table_by_name.get(".".join(spec.key.path)):
                assert [column.name for column in spec.metadata["dagster/column_schema"].columns] == [
                    column.name for column in table.columns
                ]
            else:
                assert spec.key.path == ["segments", "published_files"]


def test_nightly_tables_begin_with_as_of_and_every_column_has_a_meaning():
    for table in (table for room in rooms_of(SHOP) for table in room.table_by_name.values()):
        assert (table.columns[0].name == "as_of") == table.nightly, table.name
        assert all(column.description for column in table.columns), table.name


def test_a_shop_with_a_prefix_and_an_upstream_asset_is_the_same_house_under_other_names():
    import dagster as dg

    upstream = dg.AssetKey(["company", "orders"])
    other = definitions_of(Shop(SHOP.settings, prefix="shop_a", upstream=(upstream,), pool="shop_a"))
    graph = other.resolve_asset_graph()
    plain = definitions_of(SHOP).resolve_asset_graph()

    assert set(graph.materializable_asset_keys) == {
        dg.AssetKey(["shop_a", *key.path]) for key in plain.materializable_asset_keys
    }
    assert graph.get(dg.AssetKey(["shop_a", "raw", "raw_orders"])).parent_keys == {upstream}
    assert {key.asset_key.path[0] for key in graph.asset_check_keys} == {"shop_a"}
    assert {spec.group_name for spec in other.resolve_all_asset_specs() if spec.group_name != "default"} == {
        f"shop_a_{room}" for room in ROOMS
    }
    repository = other.get_repository_def()
    assert {"shop_a_nightly", "shop_a_ingest", "shop_a_night", "shop_a_refit"} <= set(repository.job_names)
    # Both in one code location.
    both = dg.Definitions.merge(definitions_of(SHOP), other)
    assert len(both.resolve_asset_graph().materializable_asset_keys) == 2 * len(plain.materializable_asset_keys)


def test_every_asset_links_its_door_and_the_sql_of_its_name():
    links = {
        ".".join(spec.key.path): {
            Path(link.file_path).name for link in spec.metadata["dagster/code_references"].code_references
        }
        for spec in definitions_of(SHOP).resolve_all_asset_specs()
    }

    assert all("assets.py" in names for names in links.values())
    assert sorted(name for names in links.values() for name in names - {"assets.py"}) == [
        "clean_orders.sql",
        "customer_rhythm.sql",
        "day_figures.sql",
        "rejected_orders.sql",
        "rfm_features.sql",
        "segment_assignments.sql",
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

    cure = "import it where it is used, or under TYPE_CHECKING; `python -X importtime` shows which file imports it"
    assert done.stdout.strip() == "[]", cure
