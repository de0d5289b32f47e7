"""The interface to MLflow: runs in plain types. Only this module imports mlflow, on ``connect``: it takes a second."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from orchestrator.errors import EnvironmentFailure
from orchestrator.spec.names import redacted, sqlite_file
from orchestrator.spec.settings import TrackingSettings

SWEEP_ID = "joulegrid.sweep_id"
"""Tag of every run of a sweep, the parent included, by which runs are searched."""

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # The defaults (120 s, 7 retries) block a driver for minutes if the server is down.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "8",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
_LOGGERS = ("mlflow", "alembic")
_PAGE = 1000
_ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
_MAX_MESSAGE = 300
_SQLITE_TIMEOUT_S = 20.0

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as a search returns it."""

    run_id: str
    status: str
    tags: Mapping[str, str]


class MlflowSink:
    """Runs of one experiment, for one thread. Every method raises ``EnvironmentFailure`` if MLflow does not respond."""

    def __init__(self, client: Any, experiment_id: str, uri: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._uri = uri

    @property
    def experiment_id(self) -> str:
        """Return MLflow's id of the experiment, which is part of its addresses."""
        return self._experiment_id

    @classmethod
    def connect(cls, settings: TrackingSettings) -> Self:
        """Open the experiment; create it if it is missing.

        Raises:
            EnvironmentFailure: the server does not respond, or the database cannot be used.
        """
        with _mlflow_errors(settings.uri):
            client = _client(settings.uri)
            return cls(client, _experiment(client, settings), settings.uri)

    def runs_of(self, sweep_id: str) -> list[RunView]:
        """Return every run of a sweep, oldest first."""
        with _mlflow_errors(self._uri):
            return [
                RunView(run.info.run_id, run.info.status, dict(run.data.tags))
                for run in sorted(self._search(sweep_id), key=lambda run: (run.info.start_time, run.info.run_id))
            ]

    def newest_sweep(self) -> str | None:
        """Return the id of the sweep that started last; None if no sweep was logged."""
        with _mlflow_errors(self._uri):
            runs = self._client.search_runs([self._experiment_id], f"tags.`{SWEEP_ID}` LIKE '%'", max_results=1)
            return runs[0].data.tags[SWEEP_ID] if runs else None

    def tag_experiment(self, key: str, value: str) -> None:
        """Set one tag of the experiment."""
        with _mlflow_errors(self._uri):
            self._client.set_experiment_tag(self._experiment_id, key, value)

    def _search(self, sweep_id: str) -> Iterator[Any]:
        condition = f"tags.`{SWEEP_ID}` = '{sweep_id}'"
        token = None
        while True:
            page = self._client.search_runs([self._experiment_id], condition, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def create(self, name: str, tags: Mapping[str, str], started_unix_s: float) -> str:
        """Create a run with its tags in one call and return its id."""
        with _mlflow_errors(self._uri):
            run = self._client.create_run(
                self._experiment_id, start_time=_ms(started_unix_s), tags=dict(tags), run_name=name
            )
            run_id: str = run.info.run_id
            return run_id

    def log(
        self,
        run_id: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        *,
        at_unix_s: float = 0.0,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log all in one call, metrics at one time and step 0, so that repeated calls do not add points."""
        from mlflow.entities import Metric, Param, RunTag

        batch = {
            "metrics": [Metric(key, value, _ms(at_unix_s), 0) for key, value in metrics.items()],
            "params": [Param(key, value) for key, value in params.items()],
            "tags": [RunTag(key, value) for key, value in (tags or {}).items()],
        }
        with _mlflow_errors(self._uri):
            self._client.log_batch(run_id, **batch)

    def upload_text(self, run_id: str, name: str, text: str) -> None:
        """Upload a text as an artifact of this name."""
        with _mlflow_errors(self._uri):
            self._client.log_text(run_id, text, name)

    def upload(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Upload a file (into ``folder`` of the artifacts, if given) or the content of a folder."""
        with _mlflow_errors(self._uri):
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path))
            else:
                self._client.log_artifact(run_id, str(path), folder)

    def tag(self, run_id: str, key: str, value: str) -> None:
        """Set one tag."""
        with _mlflow_errors(self._uri):
            self._client.set_tag(run_id, key, value)

    def set_status(self, run_id: str, status: RunStatus, ended_unix_s: float | None = None) -> None:
        """End a run with a status and its time, or reopen it (``RUNNING``)."""
        with _mlflow_errors(self._uri):
            if ended_unix_s is None:
                self._client.update_run(run_id, status=status)
            else:
                self._client.set_terminated(run_id, status, _ms(ended_unix_s))

    def delete(self, run_id: str) -> None:
        """Move a run to MLflow's trash."""
        with _mlflow_errors(self._uri):
            self._client.delete_run(run_id)


@contextmanager
def _mlflow_errors(uri: str) -> Iterator[None]:
    """Turn every error of MLflow, requests, SQLAlchemy and the file system into ``EnvironmentFailure``."""
    try:
        yield
    except EnvironmentFailure:
        raise
    except Exception as error:
        text = " ".join(str(error).split()).rpartition("Caused by ")[2]
        raise EnvironmentFailure(
            f"MLflow at {redacted(uri)} does not respond: {redacted(text)[:_MAX_MESSAGE]}"
        ) from error


def _client(uri: str) -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    database = sqlite_file(uri)
    if database is None:
        return MlflowClient(uri)
    if "?" in str(database):  # the path of an address ends there: MLflow would write to another file
        raise EnvironmentFailure(f"MLflow cannot use {database}: the path of an SQLite address must not contain a '?'")
    with _locked(database.parent):
        if not database.exists():
            _create_sqlite(database)
        _check_sqlite(database)
        return MlflowClient(f"sqlite:///{database}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder: processes that create the tables of one SQLite file at the same time all fail."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create_sqlite(database: Path) -> None:
    """Create the tables in a temporary file: a process killed during MLflow's migrations leaves a broken database."""
    from mlflow.tracking import MlflowClient

    aside = database.with_name(f".{database.name}.new")
    for leftover in (aside, aside.with_name(f"{aside.name}-journal")):
        leftover.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{aside}").search_experiments(max_results=1)
    aside.replace(database)


def _check_sqlite(database: Path) -> None:
    """Fail at once where MLflow would retry for minutes: no permission, not a database, a lock held for long."""
    with closing(sqlite3.connect(database, timeout=_SQLITE_TIMEOUT_S)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


def _experiment(client: Any, settings: TrackingSettings) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(settings.experiment)
    if experiment is None:
        database = sqlite_file(settings.uri)
        location = None if database is None else (database.parent / "mlartifacts").as_uri()
        try:
            created: str = client.create_experiment(settings.experiment, artifact_location=location)
            return created
        except MlflowException as error:
            if error.error_code != _ALREADY_EXISTS:
                raise
            experiment = client.get_experiment_by_name(settings.experiment)
    if experiment is None or experiment.lifecycle_stage != "active":
        raise EnvironmentFailure(
            f"MLflow experiment {settings.experiment!r} is deleted; restore it or set tracking.experiment to another"
        )
    experiment_id: str = experiment.experiment_id
    return experiment_id


def _ms(unix_s: float) -> int:
    return round(unix_s * 1000)
