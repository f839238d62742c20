"""The command line: exit statuses, help, usage errors, and errors of one line."""

import ctypes
import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from seg_pipeline.cli import COMMANDS, main
from seg_pipeline.errors import DataError, MachineError, UsageError
from seg_pipeline_tests.whole_runs import DEMO_UNTIL, real_data


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def failed(capsys, *arguments):
    """Returns the exit status and the one line of an error."""
    status, _, error = run(capsys, *arguments)
    assert error.count("\n") == 1
    assert error.startswith("seg-pipeline: ")
    return status, error


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["run", "--help"], 0), ([], 2), (["walk"], 2)])
def test_help_and_wrong_commands_show_the_usage(arguments, status, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == status
    shown = capsys.readouterr()
    assert "usage: seg-pipeline" in (shown.err if status else shown.out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["backfill", "yesterday"],
        ["backfill"],
        ["backfill", "2011-01-01", "2011-01-02", "2011-01-03"],
        ["run", "--sauce", "orders.csv"],
        ["init", "orders.csv", "--sauce"],
        ["explain", "17850", "--lines", "few"],
        ["champions", "--from", "yesterday"],
        ["champions", "--from", "2011-12-10"],
        ["erase"],
        ["inspect"],
        ["completion", "cmd"],
    ],
)
def test_a_usage_error_shows_the_usage_of_its_command(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"usage: seg-pipeline {arguments[0]} ")


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom seg_pipeline.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'dagster', 'duckdb', 'pandas'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


# completion shows how to install itself instead.
@pytest.mark.parametrize(
    "command", [name for module in COMMANDS if (name := module.__name__.rpartition(".")[2]) != "completion"]
)
def test_the_help_of_every_command_teaches_with_examples(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert f"examples:\n  seg-pipeline {command}" in shown


def test_the_help_documents_every_exit_status(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    documented = capsys.readouterr().out.partition("exit status:")[2]
    for error in (DataError, UsageError, MachineError):
        assert f"\n  {error.exit_status} " in documented


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands_options_and_presets(capsys, shell):
    status, out, error = run(capsys, "completion", shell)
    assert (status, error) == (0, "")
    assert [word for word in ("backfill", "unpin", "as-of", "cdnow") if word not in out] == []


def test_bash_completes_with_the_script_that_is_printed(capsys):
    script = run(capsys, "completion", "bash")[1]
    ask = "COMP_WORDS=(seg-pipeline run --preset c); COMP_CWORD=3; _shtab_seg_pipeline; echo ${COMPREPLY[@]}"
    shown = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    assert (shown.stdout, shown.stderr) == ("cdnow\n", "")


def test_inspect_gives_json(capsys, tmp_path):
    (tmp_path / "a.csv").write_text("customer_id,date,amount\nA,2024-01-02,1\n,2024-01-02,1\n")
    status, out, error = run(capsys, "inspect", tmp_path, "--json")
    assert (status, error) == (0, "")
    found = json.loads(out)
    assert (found["clean"], found["problems"][0]["reason"], found["last_day"]) == (
        1,
        "missing_customer_id",
        "2024-01-02",
    )


def test_with_json_an_error_leaves_stdout_empty(capsys, tmp_path):
    status, out, error = run(capsys, "inspect", tmp_path / "none.csv", "--json")
    assert (status, out, error.count("\n")) == (2, "", 1)


def test_a_reader_that_closes_the_pipe_gets_no_traceback(tmp_path):
    (tmp_path / "a.csv").write_text("customer_id,date,amount\nA,2024-01-02,1\n")
    command = f"{sys.executable} -m seg_pipeline.cli inspect {tmp_path} --json | true"
    shown = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert shown.stderr == ""


def test_champions_are_listed_while_others_read_and_nothing_is_written(capsys, shop_run):
    place = ("--warehouse", shop_run.warehouse.database)
    before = Path(shop_run.warehouse.database).read_bytes()
    with duckdb.connect(shop_run.warehouse.database, read_only=True):
        status, out, error = run(capsys, "champions", "--json", *place)
    assert (status, error) == (0, "")
    (champion,) = json.loads(out)["champions"]
    assert champion["in_force_from"] == champion["fitted_as_of"] == str(DEMO_UNTIL + datetime.timedelta(days=1))
    assert Path(shop_run.warehouse.database).read_bytes() == before
    assert champion["model_id"] in run(capsys, "champions", *place)[1]


def test_champions_of_a_warehouse_that_is_not_there_make_none(capsys, tmp_path):
    assert failed(capsys, "champions", "--warehouse", tmp_path / "none.duckdb")[0] == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "models.kmax=8"], "did you mean models.k_max?"),
        (["--preset", "cdnaw"], "did you mean cdnow?"),
        (["--config", "none.toml"], "none.toml: No such file"),
        (["--set", "source.columns.customer_id=who"], "has no column 'who'"),
        (["--set", "source.date_format=%Q"], "source.date_format"),
    ],
)
def test_wrong_settings_are_status_2(capsys, tmp_path, options, words):
    (tmp_path / "a.csv").write_text("customer_id,date,amount\nA,2024-01-01,1\n")
    status, error = failed(capsys, "inspect", tmp_path / "a.csv", *options)
    assert status == 2
    assert words in error


def _without_override():
    """Drops root's right to open any file before a program starts; has no effect for other users."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("champions", "warehouse.path=closed.duckdb"),
        ("explain A", "warehouse.path=closed/w.duckdb"),
        ("inspect a.csv", "source.preset=closed.toml"),
        ("inspect a.csv", "source.preset=closed/a.toml"),
        ("inspect closed", "returns=net"),
    ],
)
def test_what_may_not_be_read_is_one_line_and_status_3(tmp_path, command, option):
    (tmp_path / "a.csv").write_text("customer_id,date,price\nA,2024-01-01,1\n")
    (tmp_path / "closed.toml").touch(mode=0)
    (tmp_path / "closed").mkdir(mode=0)
    duckdb.connect(tmp_path / "closed.duckdb").close()
    (tmp_path / "closed.duckdb").chmod(0)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from seg_pipeline.cli import main; raise SystemExit(main())",
            *command.split(),
            "--set",
            option,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        preexec_fn=_without_override,
    )
    assert done.returncode == 3, done.stderr
    line = done.stderr.replace(f"{tmp_path}/", "")
    assert re.fullmatch(r"seg-pipeline: (warehouse )?closed\S*: Permission denied\n", line)


def test_a_missing_temporary_folder_is_status_3(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: [str(tmp_path / "missing")])
    (tmp_path / "a.csv").write_text("customer_id,date,price\nA,2024-01-01,1\n")
    assert main(["run", "--source", str(tmp_path / "a.csv"), "--warehouse", str(tmp_path / "w.duckdb")]) == 3
    assert capsys.readouterr().err == (
        f"seg-pipeline: No usable temporary directory found in ['{tmp_path}/missing']; create one, or set TMPDIR\n"
    )


def test_a_missing_path_is_status_2_and_an_ambiguous_date_too(capsys, tmp_path):
    assert failed(capsys, "inspect", tmp_path / "none.csv")[0] == 2
    (tmp_path / "a.csv").write_text("customer_id,date,amount\nA,1/2/2024,1\n")
    status, error = failed(capsys, "inspect", tmp_path / "a.csv")
    assert status == 2
    assert "a.csv row 1" in error


def test_a_table_of_something_else_is_status_1(capsys, tmp_path):
    (tmp_path / "a.csv").write_text("region,fresh,milk\n1,2,3\n")
    status, error = failed(capsys, "inspect", tmp_path / "a.csv")
    assert status == 1
    assert "no column for customer_id" in error


def test_the_wholesale_table_has_no_customers_and_says_so(capsys):
    status, error = failed(capsys, "inspect", real_data("wholesale"))
    assert status == 1
    assert "no column for customer_id" in error
    assert "the file has Channel, Region, Fresh, Milk, Grocery, Frozen, Detergents_Paper, Delicatessen" in error


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (
            "online_retail/2010-12-01.csv",
            ["--preset", "online_retail"],
            ["InvoiceNo", "read as: iso", "missing_customer_id"],
        ),
        ("cdnow/CDNOW_master.txt", ["--preset", "cdnow"], ["dollar_value", "read as: %Y%m%d", "20,000 would count"]),
        ("r_rfm", [], ["order_date", "revenue", "read as: iso", "4,906 would count"]),
    ],
)
def test_inspect_shows_how_real_orders_are_read(capsys, source, options, words):
    status, out, error = run(capsys, "inspect", real_data(source), *options)
    assert (status, error) == (0, "")
    assert [word for word in words if word not in out] == []


def test_explain_shows_a_customer_from_raw_lines_to_what_would_move_them(capsys, online_retail_run):
    status, out, error = run(
        capsys, "explain", "17850.0", "--warehouse", online_retail_run.warehouse.database, "--lines", 3
    )

    assert (status, error) == (0, "")
    words = [
        "Customer 17850 as of 2011-12-10: Loyal Customers (segment 2)",
        "1. 312 raw lines: 309 count",
        "2010-12-01.csv row 1",
        "and 309 more",
        "3 duplicate_line: the line equals an earlier line of the same order",
        "R 1 x F 5: Can't Lose",
        "5. decided by the nearest centre",
        "runner-up: Champions",
        "(now 34)",
        "2011-12-10: Loyal Customers",
    ]
    assert [word for word in words if word not in out] == []


def test_explain_gives_json_and_an_unknown_customer_is_status_1(capsys, shop_run):
    place = ("--warehouse", shop_run.warehouse.database)
    customer = shop_run.warehouse.value("SELECT min(customer_id) FROM segments.segment_assignments")
    status, out, _ = run(capsys, "explain", customer, "--json", *place)
    assert (status, json.loads(out)["customer_id"]) == (0, customer)

    status, error = failed(capsys, "explain", f"{customer}x", *place)
    assert status == 1
    assert f"did you mean {customer}" in error


def test_explain_of_a_night_or_a_warehouse_that_is_not_there_is_status_2(capsys, shop_run, tmp_path):
    status, error = failed(capsys, "explain", "1", "--as-of", "2001-01-01", "--warehouse", shop_run.warehouse.database)
    assert status == 2
    assert "the newest is" in error
    assert failed(capsys, "explain", "1", "--warehouse", tmp_path / "none.duckdb")[0] == 2
    assert not (tmp_path / "none.duckdb").exists()


def test_an_interrupted_erasure_says_that_the_customers_may_still_be_there(monkeypatch, tmp_path, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("seg_pipeline.usecases.erase.erase", interrupted)

    assert main(["erase", "17850", "--warehouse", str(tmp_path / "w.duckdb")]) == 130
    assert "interrupted; erase again, since the customers may not be gone" in capsys.readouterr().err
