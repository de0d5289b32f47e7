import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from sample_sweeps import a_cell, a_matrix, a_record, settings, some_series

from orchestrator import cli
from orchestrator.commands.sync import main
from orchestrator.errors import EnvironmentFailure, UserError
from orchestrator.store.sweep import SweepStore


@pytest.fixture
def sync(tracking, runs_dir, capsys):
    """Runs `sync` and returns its exit code and last line."""

    def sync(*args):
        code = cli.main(["sync", *args, f"runs_dir={runs_dir}", f"tracking.uri={tracking.uri}"])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    return sync


def test_all_sweeps_are_logged_once(sync, new_sweep, assert_logged, tracking):
    stores = [new_sweep(), new_sweep()]
    code, line = sync()
    assert code == 0
    assert line == {
        "command": "sync",
        "sweeps": 2,
        "cells": 4,
        "logged": 4,
        "already": 0,
        "left": 0,
        "tracking_uri": tracking.uri,
    }
    for store in stores:
        assert_logged(store)
    assert sync()[1]["already"] == 4


def test_one_sweep_is_logged_by_its_id(sync, new_sweep, assert_logged, runs_of):
    first, second = new_sweep(), new_sweep()
    assert sync(second.sweep_id)[1]["sweeps"] == 1
    assert_logged(second)
    assert runs_of(first) == []


def test_a_sweep_at_work_is_left_to_its_driver(sync, new_sweep, assert_logged, runs_dir, tracking):
    held, free = new_sweep(), new_sweep()
    with held.lock():
        code, line = sync()
        with pytest.raises(UserError, match="is being worked on by pid"):
            main([held.sweep_id, f"runs_dir={runs_dir}", f"tracking.uri={tracking.uri}"])
    assert (code, line["sweeps"], line["left"]) == (1, 1, 1)
    assert_logged(free)


def test_a_damaged_sweep_does_not_hold_up_the_others(sync, new_sweep, assert_logged):
    damaged, sound = new_sweep(), new_sweep()
    damaged.paths.manifest.write_text("{")
    assert sync()[0] == 1
    assert_logged(sound)


def test_no_sweeps_are_no_failure_and_no_mlflow(runs_dir, tmp_path, capsys):
    assert cli.main(["sync", f"runs_dir={runs_dir}", f"tracking.uri=sqlite:///{tmp_path}/none.db"]) == 0
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a", "b"], "sync takes one sweep or none (for all), got a, b"),
        (
            ["tracking.url=x"],
            "sync: unknown option 'tracking.url'; did you mean tracking.uri? allowed: output, runs_dir, ",
        ),
        (["--all"], "sync: unknown option 'all'"),
        (["runs_dir="], "sync: runs_dir takes one value, got none"),
    ],
)
def test_wrong_arguments_are_answered_with_those_allowed(args, message):
    with pytest.raises(UserError) as caught:
        main(args)
    assert str(caught.value).startswith(message)


def test_a_server_that_does_not_answer_is_the_environment(new_sweep, runs_dir, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    new_sweep()
    with pytest.raises(EnvironmentFailure, match=r"MLflow at http://127\.0\.0\.1:9 does not respond") as caught:
        main([f"runs_dir={runs_dir}", "tracking.uri=http://127.0.0.1:9"])
    assert caught.value.exit_code == 3


DRIVER = """
import sys
from pathlib import Path
from orchestrator.spec.settings import TrackingSettings
from orchestrator.store.sweep import SweepStore
from orchestrator.tracking.logger import Logger
store = SweepStore.open(Path(sys.argv[1]))
with store.lock():
    logger = Logger(store, TrackingSettings(uri=sys.argv[2]), warn=print)
    print("logging", flush=True)
    logger.close()
"""


@pytest.mark.slow
def test_kill_9_of_a_driver_that_logs_then_sync_has_each_cell_once(sync, runs_dir, tracking, tmp_path, assert_logged):
    cells = [a_cell(users=users) for users in range(1, 41)]
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {})
    for cell in cells:
        store.write(a_record(cell), some_series())
    store.paths.results_csv.write_text("cell_id\n")
    tests = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{tests}:{tests.parent.parent}"}
    for _ in range(2):
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(store.paths.root), tracking.uri],
            stdout=subprocess.PIPE,
            env=environment,
        )
        before = logged_in(tmp_path / "mlflow.db")
        while driver.poll() is None and logged_in(tmp_path / "mlflow.db") < before + 5:
            time.sleep(0.02)
        driver.send_signal(signal.SIGKILL)
        driver.communicate()

    code, line = sync()

    assert (code, line["left"]) == (0, 0)
    assert line["logged"] > 0
    assert line["logged"] < 40
    assert_logged(store)


def logged_in(database):
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
        return connection.execute("SELECT count(*) FROM tags WHERE key = 'joulegrid.logged'").fetchone()[0]


@pytest.fixture
def server(tmp_path):
    """An `mlflow server` of the test's own; gone afterwards with its children."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{tmp_path}/server.db"),
            *("--artifacts-destination", str(tmp_path / "served")),
        ],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{uri}/health")
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(address):
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
    raise TimeoutError(address)


@pytest.mark.slow
def test_a_server_is_logged_to_as_a_file_is(server, new_sweep, runs_dir, capsys):
    from mlflow.tracking import MlflowClient

    store = new_sweep()
    assert cli.main(["sync", f"runs_dir={runs_dir}", f"tracking.uri={server}", "tracking.experiment=over http"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["logged"] == 2

    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("over http")
    runs = client.search_runs([experiment.experiment_id], "tags.status = 'ok'")
    assert [run.data.metrics for run in runs] == [next(store.records()).metrics]
    names = {artifact.path for artifact in client.list_artifacts(runs[0].info.run_id)}
    assert names == {"record.json", "power.parquet", "requests.parquet", "timeline.svg"}
    assert cli.main(["sync", f"runs_dir={runs_dir}", f"tracking.uri={server}", "tracking.experiment=over http"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["already"] == 2
