"""A real MLflow on an SQLite file, its tables made once for all tests."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_sweeps import a_cell, a_matrix, a_record, an_attempt, settings, some_series

from orchestrator.analysis.results import write_results
from orchestrator.spec.settings import TrackingSettings
from orchestrator.store.sweep import SweepStore
from orchestrator.tracking.mlflow_sink import MlflowSink


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, which take seconds to make."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowSink.connect(TrackingSettings(uri=f"sqlite:///{database}", experiment="unused"))
    return database


@pytest.fixture
def tracking(empty_database: Path, tmp_path: Path) -> TrackingSettings:
    """The address of a database of the test's own."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return TrackingSettings(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture
def client(tracking: TrackingSettings) -> Any:
    """MLflow's own client, to look at what was logged."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking.uri)


@pytest.fixture
def new_sweep(runs_dir: Path) -> Callable[[], SweepStore]:
    """Makes sweeps with an ok and a failed cell on disk and one that was never run."""

    def new_sweep() -> SweepStore:
        cells = [a_cell(users=users) for users in (1, 2, 3)]
        store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {})
        store.write(a_record(cells[0]), some_series())
        store.write(a_record(cells[1], "failed", metrics={}, attempts=(an_attempt(1, "failed"),)), {})
        write_results(store)
        return store

    return new_sweep


@pytest.fixture
def runs_of(tracking: TrackingSettings, client: Any) -> Callable[[SweepStore], list[Any]]:
    """The runs that people see of a sweep."""

    def runs_of(store: SweepStore) -> list[Any]:
        experiment = client.get_experiment_by_name(tracking.experiment)
        wanted = f"tags.`joulegrid.sweep_id` = '{store.sweep_id}'"
        return list(client.search_runs([experiment.experiment_id], wanted))

    return runs_of


@pytest.fixture
def assert_logged(client: Any, runs_of: Callable[[SweepStore], list[Any]]) -> Callable[[SweepStore], None]:
    """Every record is in MLflow once and right, below one parent."""

    def assert_logged(store: SweepStore) -> None:
        runs = runs_of(store)
        (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        cells = {run.data.tags["joulegrid.cell_id"]: run for run in runs if run is not parent}
        records = list(store.records())
        assert len(runs) == 1 + len(records)
        for record in records:
            run = cells[record.cell_id]
            folder = store.paths.cell(record.cell_id).folder
            content = (folder / "record.json").read_bytes()
            assert run.data.metrics == record.metrics
            assert run.data.params["load.users"] == str(record.cell["load"]["users"])
            assert run.data.params["engine.block_size"] == "16"
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            assert run.data.tags["status"] == record.status
            assert run.data.tags["joulegrid.logged"] == hashlib.sha256(content).hexdigest()
            assert run.info.status == ("FINISHED" if record.status == "ok" else "FAILED")
            assert run.info.end_time == round(record.attempts[-1].ended_unix_s * 1000)
            names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
            drawn = {"timeline.svg"} if "power" in record.series else set()
            assert names == {path.name for path in folder.iterdir()} | drawn
            for key in record.metrics:
                assert len(client.get_metric_history(run.info.run_id, key)) == 1
        missing = len(store.manifest.order) - len(records)
        assert parent.info.status == ("KILLED" if missing else "FINISHED")
        assert parent.data.tags["cells_missing"] == str(missing)
        artifacts = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
        assert artifacts == {"sweep.json", "results.csv"}

    return assert_logged
