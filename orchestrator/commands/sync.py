"""`sync`: log to MLflow what is on disk and not there yet."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import EnvironmentFailure, UserError
from orchestrator.spec.names import redacted
from orchestrator.spec.settings import Settings, TrackingSettings
from orchestrator.store.lock import SweepLock
from orchestrator.store.paths import SweepPaths, find_sweep, list_sweeps
from orchestrator.store.sweep import SweepStore
from orchestrator.sweep.console import say, warn
from orchestrator.tracking.mlflow_sink import MlflowSink
from orchestrator.tracking.sweep_log import SweepLog

_KEYS = ("runs_dir", "tracking.uri", "tracking.experiment")
_MAX_FAILURES = 3


@dataclass(frozen=True, slots=True)
class _Request:
    sweep: str | None
    runs_dir: Path
    tracking: TrackingSettings


@dataclass(slots=True)
class _Tally:
    """What was done so far; ``left`` counts cells and sweeps that should be in MLflow and are not."""

    sweeps: int = 0
    cells: int = 0
    logged: int = 0
    left: int = 0


def main(args: list[str]) -> int:
    """``sync [SWEEP] [runs_dir=…] [tracking.uri=…] [tracking.experiment=…]``: one sweep, or all there are.

    The result is the exit code: 0, or 1 where something could not be logged (a sweep at work logs itself).

    Raises:
        UserError: an argument is wrong, or the sweep named is being worked on.
        EnvironmentFailure: MLflow does not serve.
    """
    request = _parsed(args)
    tally = _Tally()
    if request.sweep is not None:
        paths = find_sweep(request.runs_dir, request.sweep)
        _sync(MlflowSink.connect(request.tracking), paths, tally)
    elif sweeps := list_sweeps(request.runs_dir):
        _sync_all(MlflowSink.connect(request.tracking), reversed(sweeps), tally)
    _report(request, tally)
    return 1 if tally.left else 0


def _parsed(args: list[str]) -> _Request:
    given: dict[str, str] = {}
    names: list[str] = []
    for arg in args:
        key, equals, value = arg.partition("=")
        if not equals and not arg.startswith("-"):
            names.append(arg)
        elif equals and key in _KEYS and value:
            given[key] = value
        else:
            raise UserError(f"sync does not take {arg!r}; allowed: a sweep's id, {', '.join(f'{k}=…' for k in _KEYS)}")
    if len(names) > 1:
        raise UserError(f"sync takes one sweep or none (for all), got {', '.join(names)}")
    tracking = {key.removeprefix("tracking."): value for key, value in given.items() if key != "runs_dir"}
    return _Request(
        sweep=names[0] if names else None,
        runs_dir=Path(given.get("runs_dir", Settings().runs_dir)),
        tracking=TrackingSettings.model_validate(tracking),
    )


def _sync(sink: MlflowSink, paths: SweepPaths, tally: _Tally) -> None:
    with SweepLock(paths.lock):
        store = SweepStore.open(paths.root)
        log = SweepLog(sink, store)
        tally.sweeps += 1
        tally.cells += sum(1 for _ in store.records())
        failures = 0
        for cell_id in log.unlogged():
            try:
                tally.logged += log.log_cell(cell_id)
                failures = 0
            except EnvironmentFailure as error:
                failures += 1
                if failures == _MAX_FAILURES:
                    raise
                tally.left += 1
                warn(f"cell {cell_id}: {error}")
        log.log_sweep()


def _sync_all(sink: MlflowSink, sweeps: Iterable[SweepPaths], tally: _Tally) -> None:
    for paths in sweeps:
        try:
            _sync(sink, paths, tally)
        except UserError as error:  # at work, or damaged: no reason to leave out the others
            tally.left += 1
            warn(f"left out: {error}")


def _report(request: _Request, tally: _Tally) -> None:
    already = tally.cells - tally.logged - tally.left
    uri = redacted(request.tracking.uri)
    say(f"{tally.sweeps} sweeps, {tally.cells} cells: {tally.logged} logged now, {already} there already; {uri}")
    counts = {"sweeps": tally.sweeps, "cells": tally.cells, "logged": tally.logged, "already": already}
    say(json.dumps({"command": "sync", **counts, "left": tally.left, "tracking_uri": uri}))
