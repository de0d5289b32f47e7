import itertools

import pytest
from sample_sweeps import a_cell, a_matrix, a_record, an_attempt, settings, some_series

from orchestrator.analysis.results import write_results
from orchestrator.errors import EnvironmentFailure
from orchestrator.spec.settings import TrackingSettings
from orchestrator.store.sweep import SweepStore
from orchestrator.tracking.mlflow_sink import MlflowSink
from orchestrator.tracking.sweep_log import SweepLog


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


class Fragile:
    """MLflow's client; before or after call number ``at`` it raises instead of answering."""

    def __init__(self, client, at, error, *, served):
        self._client = client
        self._left = at
        self._error = error
        self._served = served

    def __getattr__(self, name):
        method = getattr(self._client, name)

        def call(*args, **kwargs):
            self._left -= 1
            if self._left != 0:
                return method(*args, **kwargs)
            if self._served:
                method(*args, **kwargs)
            raise self._error

        return call


def log_all(log):
    log.open()
    for cell_id in log.unlogged():
        log.log_cell(cell_id)
    log.log_sweep()


def fragile_log(client, tracking, store, *, at, error, served=False):
    fragile = Fragile(client, at, error, served=served)
    experiment = client.get_experiment_by_name(tracking.experiment).experiment_id
    return SweepLog(MlflowSink(fragile, experiment, tracking.uri), store)


def test_a_sweep_is_a_parent_and_a_run_for_each_record(tracking, new_sweep, assert_logged):
    store = new_sweep()
    log_all(SweepLog(MlflowSink.connect(tracking), store))
    assert_logged(store)


def test_runs_say_what_they_are(tracking, new_sweep, runs_of):
    store = new_sweep()
    log_all(SweepLog(MlflowSink.connect(tracking), store))

    by_name = {run.info.run_name: run for run in runs_of(store)}

    assert set(by_name) == {store.sweep_id, "users=1", "users=2"}
    failed = by_name["users=2"].data.tags
    assert failed["error"] == "ValueError: boom"
    assert failed["host"] == "node-1"
    assert failed["simulated"] == "true"
    parent = by_name[store.sweep_id].data
    assert parent.params == {"sweep": "demo", "overrides": "+sweep=demo"}
    assert parent.tags["mlflow.note.content"].startswith(
        f"**Simulated.** Joulegrid sweep `{store.sweep_id}`: 3 cells over `load.users`."
    )
    assert (parent.tags["cells_ok"], parent.tags["cells_failed"], parent.tags["cells_missing"]) == ("1", "1", "1")


def ends_with(error, log):
    try:
        log_all(log)
    except error:
        return True
    return False


def test_killed_between_any_two_calls_and_done_again_all_is_there_once(tracking, client, new_sweep, assert_logged):
    sink = MlflowSink.connect(tracking)
    for at in itertools.count(1):
        store = new_sweep()
        if not ends_with(Killed, fragile_log(client, tracking, store, at=at, error=Killed())):
            break
        log_all(SweepLog(sink, store))
        assert_logged(store)
    assert at > 15


@pytest.mark.parametrize("served", [False, True], ids=["request lost", "answer lost"])
def test_after_an_outage_at_any_call_the_same_log_goes_on(tracking, client, new_sweep, assert_logged, served):
    MlflowSink.connect(tracking)
    for at in itertools.count(1):
        store = new_sweep()
        log = fragile_log(client, tracking, store, at=at, error=ConnectionError("gone"), served=served)
        if not ends_with(EnvironmentFailure, log):
            break
        log_all(log)
        assert_logged(store)
    assert at > 15


def test_a_request_that_was_sent_twice_leaves_one_run(tracking, client, new_sweep, assert_logged):
    store = new_sweep()
    sink = MlflowSink.connect(tracking)

    class Twice:
        def __getattr__(self, name):
            return getattr(client, name)

        def create_run(self, *args, **kwargs):
            client.create_run(*args, **kwargs)
            return client.create_run(*args, **kwargs)

    experiment = client.get_experiment_by_name(tracking.experiment).experiment_id
    log_all(SweepLog(MlflowSink(Twice(), experiment, tracking.uri), store))
    log_all(SweepLog(sink, store))
    assert_logged(store)


def test_what_is_logged_is_not_logged_again(tracking, client, new_sweep):
    store = new_sweep()
    log_all(SweepLog(MlflowSink.connect(tracking), store))

    class ReadOnly:
        def search_runs(self, *args, **kwargs):
            return client.search_runs(*args, **kwargs)

    experiment = client.get_experiment_by_name(tracking.experiment).experiment_id
    again = SweepLog(MlflowSink(ReadOnly(), experiment, tracking.uri), store)
    assert again.unlogged() == ()
    assert not any(again.log_cell(cell_id) for cell_id in store.manifest.order)
    again.log_sweep()


def test_a_later_attempt_replaces_what_the_earlier_one_logged(tracking, new_sweep, assert_logged):
    store = new_sweep()
    cell = store.manifest.matrix().cells[0]
    attempts = (an_attempt(1, "invalid"),)
    store.write(a_record(cell, "invalid", transient=(True,), metrics={"stale": 1.0}, attempts=attempts), some_series())
    sink = MlflowSink.connect(tracking)
    log_all(SweepLog(sink, store))

    later = (*attempts, an_attempt(2, ended_unix_s=3000.0))
    store.write(a_record(cell, metrics={"total_gpu_energy_j": 7.0}, attempts=later), {})
    write_results(store)
    log_all(SweepLog(sink, store))

    assert_logged(store)


def test_an_extended_sweep_keeps_its_parent(tracking, new_sweep, assert_logged):
    store = new_sweep()
    sink = MlflowSink.connect(tracking)
    log_all(SweepLog(sink, store))
    added = a_cell(users=9, max_num_seqs=2)
    manifest = store.manifest
    cells = {**manifest.cells, added.cell_id: added.canonical()}
    changes = {"cells": cells, "order": tuple(cells), "swept": (*manifest.swept, "engine.max_num_seqs")}
    store.replace_manifest(manifest.model_copy(update=changes))
    for cell in (added, manifest.matrix().cells[2]):
        store.write(a_record(cell), {})

    log_all(SweepLog(sink, store))

    assert_logged(store)


def test_a_damaged_record_is_left_out(tracking, new_sweep, assert_logged, caplog):
    store = new_sweep()
    store.paths.cell(store.manifest.order[0]).record.write_text("{")
    log_all(SweepLog(MlflowSink.connect(tracking), store))
    assert_logged(store)
    assert "is damaged and counts as missing" in caplog.text


def test_many_runs_are_found_page_by_page(tracking, client, runs_dir, monkeypatch):
    monkeypatch.setattr("orchestrator.tracking.mlflow_sink._PAGE", 2)
    cells = [a_cell(users=users) for users in range(1, 6)]
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {})
    for cell in cells:
        store.write(a_record(cell), {})
    sink = MlflowSink.connect(tracking)
    log_all(SweepLog(sink, store))
    assert len(sink.runs_of(store.sweep_id)) == 6
    assert SweepLog(sink, store).unlogged() == ()


def test_a_sweep_taken_up_again_with_nothing_new_is_ended_again(tracking, new_sweep, assert_logged):
    store = new_sweep()
    for _ in range(2):
        log_all(SweepLog(MlflowSink.connect(tracking), store))
        assert_logged(store)


def test_two_sweeps_of_one_matrix_do_not_mix(tracking, new_sweep, assert_logged):
    first, second = new_sweep(), new_sweep()
    sink = MlflowSink.connect(tracking)
    for store in (first, second):
        log_all(SweepLog(sink, store))
    assert_logged(first)
    assert_logged(second)


def test_an_experiment_in_the_trash_is_named(tracking, client):
    MlflowSink.connect(tracking)
    client.delete_experiment(client.get_experiment_by_name(tracking.experiment).experiment_id)
    with pytest.raises(EnvironmentFailure, match="experiment 'joulegrid' is deleted"):
        MlflowSink.connect(tracking)


def test_artifacts_lie_beside_the_database_wherever_the_program_runs(tracking, client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    MlflowSink.connect(TrackingSettings(uri="sqlite:///mlflow.db", experiment="relative"))
    assert client.get_experiment_by_name("relative").artifact_location == f"file://{tmp_path}/mlartifacts"


@pytest.mark.parametrize("obstacle", ["a folder", "no database"])
def test_a_file_that_is_no_database_is_said_at_once(tmp_path, obstacle):
    path = tmp_path / "mlflow.db"
    if obstacle == "a folder":
        path.mkdir()
    else:
        path.write_text("these are not the tables you are looking for" * 100)
    with pytest.raises(EnvironmentFailure, match=f"MLflow at sqlite:///{path} does not respond: "):
        MlflowSink.connect(TrackingSettings(uri=f"sqlite:///{path}"))
