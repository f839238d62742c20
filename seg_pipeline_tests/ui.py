"""The Dagster UI as `make dev` starts it, and headless Chromium before it.

What the browser test and the screenshots share: starting and stopping, and the clicks both make. What the UI should
show is said in the test.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from seg_pipeline.settings.loading import ENVIRONMENT_PREFIX

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WINDOW = (1600, 900)

START_SECONDS = 90
STOP_SECONDS = 30
RUN_SECONDS = 180
ANSWER_SECONDS = 20
CLICK_SECONDS = 30
POLL_SECONDS = 0.5

# What a make around this one hands down would change what `make dev` does.
FROM_AN_OUTER_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
LOCATIONS = """{workspaceOrError {... on Workspace {locationEntries {loadStatus locationOrLoadError {
    ... on PythonError {message}}}}}}"""
ERRORS = """{runOrError(runId: "%s") {... on Run {eventConnection {events {
    ... on ErrorEvent {error {message causes {message}}}}}}}}"""
LAST_RUN = "{runsOrError(limit: 1) {... on Runs {results {runId status}}}}"
FINISHED = ("SUCCESS", "FAILURE", "CANCELED")


def chromium() -> str | None:
    """Where the distribution's Chromium is, None where there is none."""
    return CHROMIUM if os.access(CHROMIUM, os.X_OK) else shutil.which("chromium")


@contextmanager
def make_dev(folder: Path, source: Path | None = None, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """`make dev` on a free port, its shop, home, warehouse and published files in `folder`; yields its address.

    What it prints goes to `folder/terminal.txt`. Nothing is installed: the tools are those of this Python.

    Args:
        folder: Is there and empty.
        source: Orders to read; the demo shop that `make dev` makes where None.
        settings: More settings, key -> value.

    Raises:
        RuntimeError: it ended, did not answer in time, or could not load the pipeline.
    """
    port = _free_port()
    variables = {
        "BIN": Path(sys.executable).parent,
        "DEMO": folder / "shop",
        "DAGSTER_HOME": folder / "home",
        "PORT": port,
    }
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith((ENVIRONMENT_PREFIX, "DAGSTER_")) and name not in FROM_AN_OUTER_MAKE
    }
    environment[ENVIRONMENT_PREFIX + "WAREHOUSE_PATH"] = str(folder / "warehouse.duckdb")
    environment[ENVIRONMENT_PREFIX + "OUTPUT_PATH"] = str(folder / "published")
    if source:
        environment[ENVIRONMENT_PREFIX + "SOURCE_PATH"] = str(source)
    for key, value in (settings or {}).items():
        environment[ENVIRONMENT_PREFIX + key.replace(".", "_").upper()] = value
    terminal = folder / "terminal.txt"
    with terminal.open("wb") as output:
        process = subprocess.Popen(
            # -o: the environment is as new as it needs to be.
            ["make", "-o", ".venv/installed", "dev", *(f"{name}={value}" for name, value in variables.items())],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own, so that all of it can be stopped as Ctrl-C does.
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_loaded(address, process, terminal)
        yield address
    finally:
        _stop(process)


@contextmanager
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_OPTIONS)
        try:
            yield started
        finally:
            started.close()


@contextmanager
def page_of(browser: Browser, screenshot: Path, window: tuple[int, int] = WINDOW) -> Iterator[Page]:
    """A page whose last look is kept as a picture, whatever happened on it."""
    page = browser.new_page(viewport={"width": window[0], "height": window[1]})
    page.set_default_timeout(CLICK_SECONDS * 1000)
    expect.set_options(timeout=CLICK_SECONDS * 1000)
    try:
        yield page
    finally:
        page.screenshot(path=screenshot)
        page.close()


def materialize_latest_night(page: Page, address: str) -> str:
    """Clicks "Materialize all" on the asset graph, chooses the latest night, launches; gives the run's id."""
    page.goto(f"{address}/asset-groups")
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Latest", exact=True).click()
    dialog.get_by_role("button", name="Launch 1 run").click()
    expect(dialog).to_have_count(0)
    return last_run(address)["runId"]


def backfill_night(page: Page, address: str, day: str) -> str:
    """Chooses one night among the partitions of the job `night` and launches it; gives the run's id."""
    before = last_run(address)["runId"]
    page.goto(f"{address}/locations/seg_pipeline.definitions/jobs/night/partitions")
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    night = dialog.get_by_role("textbox").first
    night.fill(f"[{day}...{day}]")
    night.press("Enter")
    dialog.get_by_role("button", name="Launch").click()
    deadline = time.monotonic() + CLICK_SECONDS
    while (run := last_run(address)["runId"]) == before and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return run


def markdown_of(page: Page, label: str) -> Locator:
    """The link to a Markdown entry in the metadata of an asset's event."""
    return page.get_by_role("row").filter(has=page.get_by_text(label, exact=True)).get_by_text("[Show Markdown]")


def wait_until_succeeded(address: str, run_id: str) -> None:
    """Waits for the newest run.

    Raises:
        RuntimeError: it failed, and with what; or it took too long.
    """
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        run = last_run(address)
        if run["runId"] == run_id and run["status"] == "SUCCESS":
            return
        if run["runId"] != run_id or run["status"] in FINISHED:
            raise RuntimeError(f"the run is {run['status']}: {_errors(address, run_id)}")
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"the run is {run['status']} after {RUN_SECONDS} s")


def last_run(address: str) -> dict[str, str]:
    return asked(address, LAST_RUN)["runsOrError"]["results"][0]


def asked(address: str, query: str) -> dict[str, Any]:
    """What the UI's GraphQL answers."""
    request = urllib.request.Request(
        f"{address}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
        return json.load(answer)["data"]


def _errors(address: str, run_id: str) -> str:
    events = asked(address, ERRORS % run_id)["runOrError"]["eventConnection"]["events"]
    errors = [event["error"] for event in events if event.get("error")]
    return "\n".join(message["message"] for error in errors for message in (error, *error["causes"]))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_until_loaded(address: str, process: subprocess.Popen[bytes], terminal: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            entries = asked(address, LOCATIONS)["workspaceOrError"]["locationEntries"]
        except OSError:
            entries = []
        if entries and all(entry["loadStatus"] == "LOADED" for entry in entries):
            broken = [entry["locationOrLoadError"]["message"] for entry in entries if entry["locationOrLoadError"]]
            if broken:
                raise RuntimeError(f"the UI could not load the pipeline: {broken[0]}")
            return
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"make dev does not answer at {address}:\n{terminal.read_text(errors='replace')[-3000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C, and by force where something of the group stays."""
    for sent, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        deadline = time.monotonic() + seconds
        try:
            os.killpg(process.pid, sent)
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(POLL_SECONDS)
        except ProcessLookupError:
            break
    process.wait()
