import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sample_sweeps import a_record, some_series

from orchestrator.errors import EnvironmentFailure
from orchestrator.spec.settings import TrackingSettings
from orchestrator.tracking import logger as logger_module
from orchestrator.tracking.logger import Logger
from orchestrator.tracking.mlflow_sink import MlflowSink


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def quick_retries(monkeypatch):
    monkeypatch.setattr(logger_module, "_RETRY_S", (0.01, 0.01, 0.01))


class Outage:
    """Stands for `MlflowSink.connect`: a server that is down for its first ``failures`` calls of any kind."""

    def __init__(self, failures):
        self.failures = failures
        self.calls = 0

    def connect(self, settings):
        self.fail()
        return Shaky(MlflowSink.connect(settings), self)

    def fail(self):
        self.calls += 1
        if self.calls <= self.failures:
            raise EnvironmentFailure("MLflow is down")


class Shaky:
    def __init__(self, sink, outage):
        self._sink = sink
        self._outage = outage

    def __getattr__(self, name):
        self._outage.fail()
        return getattr(self._sink, name)


def test_what_is_submitted_is_logged(tracking, new_sweep, warnings, assert_logged):
    store = new_sweep()
    logger = Logger(store, tracking, warn=warnings.append)
    cell = store.manifest.matrix().cells[2]
    store.write(a_record(cell), some_series())
    logger.submit(cell.cell_id)

    summary = logger.close()

    assert (summary.left, summary.problem, warnings) == (0, None, [])
    assert summary.logged == 3
    assert_logged(store)


def test_what_an_earlier_driver_left_is_logged_without_being_submitted(tracking, new_sweep, warnings, assert_logged):
    store = new_sweep()
    assert Logger(store, tracking, warn=warnings.append).close().logged == 2
    assert_logged(store)
    assert Logger(store, tracking, warn=warnings.append).close().logged == 0
    assert_logged(store)


def test_closing_twice_is_closing_once(tracking, new_sweep, warnings):
    logger = Logger(new_sweep(), tracking, warn=warnings.append)
    assert logger.close() == logger.close()


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_after_an_outage_everything_is_logged_with_one_warning(
    tracking, new_sweep, warnings, assert_logged, quick_retries, failures
):
    store = new_sweep()
    outage = Outage(failures)
    logger = Logger(store, tracking, warn=warnings.append, connect=outage.connect)
    cell = store.manifest.matrix().cells[2]
    store.write(a_record(cell), some_series())
    logger.submit(cell.cell_id)
    while outage.calls <= failures:
        threading.Event().wait(0.01)

    summary = logger.close()

    assert (summary.logged, summary.left, summary.problem) == (3, 0, None)
    assert_logged(store)
    assert len(warnings) == 1
    assert warnings[0] == (
        f"MLflow is down; the sweep goes on and keeps its results: `sync {store.sweep_id}` logs them"
    )


def test_a_server_that_stays_down_leaves_the_cells_to_sync(tracking, new_sweep, warnings):
    store = new_sweep()
    outage = Outage(10**9)
    logger = Logger(store, tracking, warn=warnings.append, connect=outage.connect)
    for cell_id in store.manifest.order[:2]:
        logger.submit(cell_id)

    summary = logger.close()

    assert (summary.logged, summary.left, summary.problem) == (0, 2, "MLflow is down")
    assert len(warnings) == 1
    assert outage.calls <= 3


def test_one_cell_that_mlflow_refuses_holds_up_no_other(tracking, new_sweep, warnings, quick_retries):
    store = new_sweep()
    refused = store.manifest.order[0]

    class Picky:
        def __init__(self, sink):
            self._sink = sink

        def __getattr__(self, name):
            return getattr(self._sink, name)

        def create(self, name, tags, started_unix_s):
            if tags.get("joulegrid.cell_id") == refused:
                raise EnvironmentFailure("MLflow does not take this one")
            return self._sink.create(name, tags, started_unix_s)

    logger = Logger(store, tracking, warn=warnings.append, connect=lambda given: Picky(MlflowSink.connect(given)))
    summary = logger.close()

    assert (summary.logged, summary.left, summary.problem) == (1, 1, "MLflow does not take this one")


def test_a_fault_of_ours_is_an_outage_too(tracking, new_sweep, warnings):
    def connect(settings):
        raise RuntimeError("a bug\nin two lines")

    summary = Logger(new_sweep(), tracking, warn=warnings.append, connect=connect).close()
    assert summary.problem == "RuntimeError: a bug\nin two lines"
    assert len(warnings) == 1


def test_neither_submit_nor_a_stopped_close_waits_for_a_server_that_hangs(tracking, new_sweep, warnings):
    store = new_sweep()
    release = threading.Event()

    def connect(settings):
        release.wait()
        raise EnvironmentFailure("too late")

    logger = Logger(store, tracking, warn=warnings.append, connect=connect)
    logger.submit(store.manifest.order[0])
    summary = logger.close(lambda: True, grace_s=0.05)
    release.set()

    assert (summary.logged, summary.left) == (0, 1)
    assert summary.problem == "MLflow was not done in time"


@pytest.mark.parametrize("answers_before_close", [False, True])
def test_a_server_that_does_not_answer_keeps_a_close_waiting_once(
    tracking, new_sweep, warnings, monkeypatch, answers_before_close
):
    monkeypatch.setattr(logger_module, "_TIMEOUT_ON_CLOSE_S", 0.1)
    closing = threading.Event()
    silent = []

    class Mute:
        def __init__(self, sink):
            self._sink = sink

        def __getattr__(self, name):
            be_mute(name)
            return getattr(self._sink, name)

    def be_mute(name):
        if closing.is_set() or not answers_before_close:
            silent.append(name)
            closing.wait()
            threading.Event().wait(0.3)
            raise EnvironmentFailure("no answer")

    def connect(settings):
        be_mute("connect")
        return Mute(MlflowSink.connect(settings))

    store = new_sweep()
    logger = Logger(store, tracking, warn=warnings.append, connect=connect)
    while not silent and logger._log is None:
        threading.Event().wait(0.01)
    logger.submit(store.manifest.order[0])
    closing.set()

    assert logger.close().problem == "no answer"
    assert len(silent) == 1


def test_an_interrupt_ends_a_close_that_waits(tracking, new_sweep, warnings):
    release = threading.Event()
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    logger = Logger(new_sweep(), tracking, warn=warnings.append, connect=lambda settings: release.wait())

    summary = logger.close(stop.is_set, grace_s=0.05)
    release.set()

    assert stop.is_set()
    assert summary.problem == "MLflow was not done in time"
    assert [text.partition(";")[0] for text in warnings] == ["MLflow was not done in time"]


def test_an_address_where_nothing_listens_costs_no_cell(new_sweep, warnings, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store = new_sweep()
    logger = Logger(store, TrackingSettings(uri="http://user:secret@127.0.0.1:9"), warn=warnings.append)
    logger.submit(store.manifest.order[0])

    summary = logger.close()

    assert (summary.logged, summary.left) == (0, 1)
    assert summary.problem is not None
    assert summary.problem.startswith("MLflow at http://***@127.0.0.1:9 does not respond: ")
    assert "secret" not in summary.problem + "".join(warnings)


QUIET = """
import sys
from pathlib import Path
from orchestrator.spec.settings import TrackingSettings
from orchestrator.store.sweep import SweepStore
from orchestrator.tracking.logger import Logger
assert "mlflow" not in sys.modules
store = SweepStore.open(Path(sys.argv[1]))
assert Logger(store, TrackingSettings(), warn=print).close().logged == 2
"""


def test_a_new_database_is_made_without_a_word(new_sweep, tmp_path):
    store = new_sweep()
    tests = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(store.paths.root)],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tests}:{tests.parent.parent}", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "mlflow.db", "mlartifacts"}


def test_a_folder_that_no_sqlite_address_can_name_is_refused(new_sweep, warnings, tmp_path, monkeypatch):
    odd = tmp_path / "what?" / "now"
    odd.mkdir(parents=True)
    monkeypatch.chdir(odd)

    summary = Logger(new_sweep(), TrackingSettings(), warn=warnings.append).close()

    assert summary.problem == f"MLflow cannot use {odd}/mlflow.db: the path of an SQLite address must not contain a '?'"
    assert not (tmp_path / "what").exists()
