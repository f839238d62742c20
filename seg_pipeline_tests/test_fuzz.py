"""Bad inputs by the hundred, and deliveries in any order: every line is accounted for, whatever comes."""

import datetime
import random

import pytest
from demo_shop import day_files

from seg_pipeline.prepared.cleaning import clean
from seg_pipeline.raw.ingestion import ingest
from seg_pipeline.settings import load_settings
from seg_pipeline.warehouse import Warehouse
from seg_pipeline_tests.fuzz import Endings, run, run_command, source

INPUTS = 40
SEED = 1
# pytest-xdist begins with the modules of most tests: these few, which take long, would otherwise be left to one worker.
BESIDE_SOURCES = pytest.mark.xdist_group("sources")
PLACES = "parse_filename(source_file) AS file, * EXCLUDE (source_file)"
DELIVERED = "parse_filename(source_file) AS file, status, lines, columns, unused, content_hash"


@BESIDE_SOURCES
def test_whatever_is_delivered_is_loaded_as_another_reader_reads_it_or_refused_in_one_line():
    endings = Endings()
    for number in range(INPUTS):
        try:
            run(source(SEED, number), endings)
        except AssertionError as error:
            raise AssertionError(f"input {number} of seed {SEED}: {error}") from error
    assert endings.kinds.total() == INPUTS
    # Not all alike: the mutations neither spare the reader nor leave it nothing to read.
    assert min(endings.kinds[kind] for kind in ("loaded", "some files set aside", "refused")) > INPUTS // 20
    assert endings.values_compared > INPUTS * 50


@pytest.mark.whole_run
@pytest.mark.parametrize(("number", "status"), [(0, 0), (8, 1)], ids=["fine", "no text"])
def test_the_command_ends_with_a_status_of_the_data_and_one_line(tmp_path, number, status):
    assert run_command(source(SEED, number, lines=400), tmp_path)[0] == status


@BESIDE_SOURCES
@pytest.mark.parametrize("seed", [1, 2])
def test_nights_of_late_changed_and_repeated_files_give_what_all_at_once_gives(tmp_path, seed):
    dice = random.Random(seed)
    since = datetime.date(2025, 3, 1)
    files, _ = day_files(since, since + datetime.timedelta(days=17))
    deliveries = list(files.items())
    # Versions that lack lines, before or after the whole one, and a file whose last line is cut.
    for name in dice.sample(sorted(files), 5):
        lines = files[name].splitlines(keepends=True)
        deliveries.append((name, b"".join(lines[: dice.randrange(1, len(lines) + 1)])))
    deliveries.append(("broken.csv", files[min(files)] + b'"'))
    dice.shuffle(deliveries)
    # Of two files with the same content the one that came first is loaded; all at once, the first by name.
    for name, _ in dice.sample(deliveries, 4):
        last = max(place for place, (other, _) in enumerate(deliveries) if other == name)
        deliveries.insert(dice.randint(last + 1, len(deliveries)), (f"again_{name}", dict(deliveries)[name]))
    orders = tmp_path / "orders"
    orders.mkdir()
    settings = load_settings([f"source.path={orders}"], environment={})
    nightly, once = (Warehouse(database=str(tmp_path / f"{name}.duckdb")) for name in ("nightly", "once"))
    for name, content in deliveries:
        (orders / name).write_bytes(content)
        if dice.random() < 0.7:
            _night(nightly, settings)
    _night(nightly, settings)
    _night(once, settings)
    assert _tables(nightly) == _tables(once)


def _night(warehouse, settings):
    with warehouse.get_connection() as connection:
        ingest(connection, settings.source)
        clean(connection, settings)


def _tables(warehouse):
    with warehouse.get_connection() as connection:
        return {
            table: connection.execute(f"SELECT {columns} FROM {table} ORDER BY ALL").fetchall()
            for table, columns in {
                "raw.raw_orders": PLACES,
                "prepared.clean_orders": PLACES,
                "prepared.rejected_orders": PLACES,
                "raw.deliveries": DELIVERED,
            }.items()
        }
