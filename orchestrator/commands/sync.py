"""``sync``: log to MLflow the cells on disk that it does not have yet."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.cli import Arguments, CommandResult, parse_arguments
from orchestrator.errors import EnvironmentFailure, UserError
from orchestrator.spec.names import redacted
from orchestrator.spec.settings import TrackingSettings
from orchestrator.store.lock import SweepLock
from orchestrator.store.paths import SweepPaths, find_sweep, list_sweeps
from orchestrator.store.sweep import SweepStore
from orchestrator.sweep.console import print_line, warn
from orchestrator.tracking.mlflow_sink import MlflowSink
from orchestrator.tracking.sweep_log import SweepLog

TRACKING_OPTIONS = ("tracking.uri", "tracking.experiment")
_USAGE = "[SWEEP] [runs_dir=runs] [tracking.uri=…] [tracking.experiment=…]"
_MAX_FAILURES = 3


@dataclass(slots=True)
class _Counts:
    """``left`` counts cells and sweeps that could not be logged."""

    sweeps: int = 0
    cells: int = 0
    logged: int = 0
    left: int = 0


def main(arguments: list[str]) -> CommandResult:
    """Log one sweep, or all.

    The exit code is 0, or 1 if something could not be logged (a running sweep logs itself).

    Raises:
        UserError: an argument is wrong, or the named sweep is locked by a driver.
        EnvironmentFailure: MLflow does not respond.
    """
    given = parse_arguments("sync", _USAGE, arguments, ("runs_dir", *TRACKING_OPTIONS))
    if len(given.words) > 1:
        raise UserError(f"sync takes one sweep or none (for all), got {', '.join(given.words)}")
    tracking, counts = tracking_settings(given), _Counts()
    if given.words:
        paths = find_sweep(given.runs_dir, given.words[0])
        _sync(MlflowSink.connect(tracking), paths, counts)
    elif sweeps := list_sweeps(given.runs_dir):
        _sync_all(MlflowSink.connect(tracking), reversed(sweeps), counts)
    return _result(tracking, counts)


def tracking_settings(given: Arguments) -> TrackingSettings:
    """Return the tracking settings of the command line."""
    values = {key.removeprefix("tracking."): given.options[key] for key in TRACKING_OPTIONS if key in given.options}
    return TrackingSettings.model_validate(values)


def _sync(sink: MlflowSink, paths: SweepPaths, counts: _Counts) -> None:
    with SweepLock(paths.lock):
        store = SweepStore.open(paths.root)
        log = SweepLog(sink, store)
        counts.sweeps += 1
        counts.cells += sum(1 for _ in store.records())
        failures = 0
        for cell_id in log.unlogged():
            try:
                counts.logged += log.log_cell(cell_id)
                failures = 0
            except EnvironmentFailure as error:
                failures += 1
                if failures == _MAX_FAILURES:
                    raise
                counts.left += 1
                warn(f"cell {cell_id}: {error}")
        log.log_sweep()


def _sync_all(sink: MlflowSink, sweeps: Iterable[SweepPaths], counts: _Counts) -> None:
    for paths in sweeps:
        try:
            _sync(sink, paths, counts)
        except UserError as error:  # locked or damaged: log the other sweeps
            counts.left += 1
            warn(f"left out: {error}")


def _result(tracking: TrackingSettings, counts: _Counts) -> CommandResult:
    already = counts.cells - counts.logged - counts.left
    uri = redacted(tracking.uri)
    print_line(
        f"{counts.sweeps} sweeps, {counts.cells} cells: {counts.logged} logged now, {already} there already; {uri}"
    )
    fields = {
        "sweeps": counts.sweeps,
        "cells": counts.cells,
        "logged": counts.logged,
        "already": already,
        "left": counts.left,
        "tracking_uri": uri,
    }
    return CommandResult(1 if counts.left else 0, fields)
