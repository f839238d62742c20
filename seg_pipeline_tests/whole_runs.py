"""Whole runs of the pipeline, and fixtures of runs that many tests read, each made once per session of tests."""

import datetime
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import demo_shop
import pytest
from filelock import FileLock

from seg_pipeline.cli import main
from seg_pipeline.plotting import images
from seg_pipeline.publishing.sets import TIMINGS
from seg_pipeline.warehouse import Warehouse

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
DEMO_UNTIL = datetime.date(2026, 3, 1)
# What shapes a model and takes most of a fit.
QUICK = ("--set", "models.bootstraps=3", "--set", "models.gap_references=2")


@dataclass(frozen=True, slots=True)
class Run:
    """A finished `seg-pipeline run`: its exit status, warehouse and published folder."""

    status: int
    warehouse: Warehouse
    output: Path

    @classmethod
    def in_folder(cls, folder, status=0):
        return cls(status, Warehouse(database=str(folder / "warehouse.duckdb")), folder / "published")

    def copied(self, folder):
        """Copies the warehouse and the published folder into a folder, to go on with there."""
        shutil.copy(self.warehouse.database, folder)
        shutil.copytree(self.output, folder / "published", symlinks=True)
        return Run.in_folder(folder)


def night(back):
    """The night that many days before the last one of the shop."""
    return DEMO_UNTIL + datetime.timedelta(days=1 - back)


LAST = night(0)
# A week lies between the second and the third of these: the third is compared with the second.
SCORED = (night(11), night(10), night(3))


def real_data(name):
    """A folder of real orders, which the project does not ship."""
    if not SHARED_DATA.exists():
        pytest.skip(f"needs the real orders of {name}, which are not part of the project")
    return SHARED_DATA / name


def run_pipeline(folder, source, *options, bootstraps=3, pictures=False):
    """Runs `seg-pipeline run` with its warehouse and output in `folder`, and few bootstraps, which take the most time.

    Only a test that looks at the report's pictures, or at the bytes of a drawn report, needs `pictures`.
    """
    run = Run.in_folder(folder)
    with nullcontext() if pictures else figures_left_blank():
        status = main(
            [
                *("run", "--source", str(source), "--warehouse", run.warehouse.database, "--output", str(run.output)),
                *("--set", f"models.bootstraps={bootstraps}", "--set", "models.gap_references=2", *map(str, options)),
            ]
        )
    return Run.in_folder(folder, status)


def command(run, *words):
    """Runs the command line on the warehouse and the published folder of a run; returns the exit status."""
    verb, *options = map(str, words)
    place = ["--warehouse", run.warehouse.database]
    if verb != "champions":
        place += ["--output", str(run.output), *QUICK]
    with figures_left_blank():
        return main([verb, *options, *place])


@pytest.fixture(scope="session", name="run_pipeline")
def run_pipeline_fixture():
    """The function of that name: by this fixture the session knows the tests that make whole runs."""
    return run_pipeline


@contextmanager
def figures_left_blank() -> Iterator[None]:
    """Leaves every figure of a report blank; it is built but not drawn, which would take most of the report's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "svg", lambda figure, name: "<svg></svg>")
        yield


def published_bytes(run):
    """The published files by name, but for the timings, which are never the same twice."""
    return {file.name: file.read_bytes() for file in (run.output / "latest").iterdir() if file.name != TIMINGS}


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A function: returns a folder of that name, which `make` has filled in one of pytest-xdist's workers for all.

    It is only to be read.
    """
    folders = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # That of all workers, each of which has a folder of its own in it.
        folders = folders.parent

    def folder_made(name: str, make: Callable[[Path], object]) -> Path:
        folder = folders / name
        with FileLock(folders / f"{name}.lock"):
            if not folder.exists():
                unfinished = Path(tempfile.mkdtemp(dir=folders))
                make(unfinished)
                unfinished.rename(folder)
        return folder

    return folder_made


@pytest.fixture(scope="session")
def run_once(made_once, run_pipeline, tmp_path_factory):
    """A function: returns the run of that name, made once by one worker for all, as this worker's own copy.

    It goes on `after` another run if one is given.
    """

    def run_made(name, source, *options, after=None, pictures=False):
        def make(folder):
            if after:
                after.copied(folder)
            assert run_pipeline(folder, source, *options, pictures=pictures).status == 0

        return Run.in_folder(made_once(name, make)).copied(tmp_path_factory.mktemp(name))

    return run_made


@pytest.fixture(scope="session")
def online_retail_run(run_once):
    """Online Retail with the default settings."""
    return run_once("online_retail", real_data("online_retail"), "--preset", "online_retail", pictures=True)


@pytest.fixture(scope="session")
def online_retail_night(online_retail_run):
    return online_retail_run.warehouse, datetime.date(2011, 12, 10)


@pytest.fixture(scope="session")
def shop(made_once):
    """Half a year of the demo shop, as files."""
    days = ["--until", DEMO_UNTIL.isoformat(), "--since", "2025-09-01"]
    return made_once("shop", lambda folder: demo_shop.main(["--out", str(folder), *days]))


@pytest.fixture(scope="session")
def shop_run(shop, run_once):
    """That shop with the default settings."""
    return run_once("shop_run", shop, pictures=True)


@pytest.fixture(scope="session")
def week_after(shop, shop_run, run_once):
    """That shop eight days later, without an order since: its customers can be compared with those of a week ago."""
    later = DEMO_UNTIL + datetime.timedelta(days=9)
    return run_once("week_after", shop, "--as-of", later.isoformat(), after=shop_run)


@pytest.fixture(scope="session")
def scored_nights(shop_run, made_once):
    """The run of that shop with three past nights scored as well. Only to be read and copied."""

    def score(folder):
        run = shop_run.copied(folder)
        assert [command(run, "backfill", as_of) for as_of in SCORED] == [0, 0, 0]

    return Run.in_folder(made_once("scored_nights", score))
