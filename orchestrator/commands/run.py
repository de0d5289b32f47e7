"""``run``: run or resume a sweep with the executor, tracking and report of its settings."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.analysis.pooling import write_pooled
from orchestrator.analysis.results import write_results
from orchestrator.cli import CommandResult
from orchestrator.lanes.executor import RayExecutor
from orchestrator.matrix.matrix import requested_matrix
from orchestrator.matrix.validate import infeasible_cells
from orchestrator.ray_runtime.preflight import preflight
from orchestrator.runner.local import run_cell
from orchestrator.spec.names import redacted
from orchestrator.spec.settings import Matrix, Settings, TrackingSettings
from orchestrator.store.sweep import SweepStore
from orchestrator.sweep.console import warn
from orchestrator.sweep.driver import Services, SweepResult, run_sweep
from orchestrator.sweep.executor import Executor, InlineExecutor
from orchestrator.sweep.order import block_of
from orchestrator.tracking.logger import Logger


def run(matrix: Matrix, settings: Settings) -> CommandResult:
    """Run a matrix, or what is left of a sweep.

    Raises:
        UserError: the sweep to resume does not exist, has another matrix, or is locked by another driver.
        EnvironmentFailure: the runs folder, the cluster or a server cannot be used.
    """
    started_s = time.monotonic()
    services = Services(
        infeasible_cells=infeasible_cells,
        preflight=preflight,
        new_executor=_new_executor,
        new_logger=_new_logger,
        write_tables=_write_tables,
        write_report=_write_report,
    )
    result = run_sweep(matrix, requested_matrix(matrix), settings, services)
    return CommandResult(result.exit_code, _fields(result, time.monotonic() - started_s))


def _new_executor(settings: Settings) -> Executor:
    if settings.executor == "inline":
        return InlineExecutor(run_cell)
    return RayExecutor(
        settings.cluster,
        run_cell,
        block_of=lambda cell: block_of(cell, settings.order),
        max_attempts=settings.max_attempts,
        warn=warn,
    )


def _new_logger(store: SweepStore, settings: TrackingSettings) -> Logger:
    return Logger(store, settings, warn=warn)


def _write_tables(store: SweepStore) -> None:
    write_results(store)
    write_pooled(store)


def _write_report(store: SweepStore) -> Path:
    from orchestrator.report.page import write_report  # deferred: a node of a cluster may lack plotly

    return write_report(store)


def _fields(result: SweepResult, duration_s: float) -> dict[str, Any]:
    store, settings = result.store, result.settings
    engines = dict.fromkeys(cell["engine"]["kind"] for cell in store.manifest.cells.values())
    return {
        "sweep": store.sweep_id,
        **asdict(result.counts),
        "engine": ",".join(engines),
        "engine_starts": sum(lane.engine_start_s is not None for lane in store.lanes()),
        "runs_dir": settings.runs_dir,
        "report": result.report,
        "tracking_uri": redacted(settings.tracking.uri) if settings.tracking.enabled else None,
        "duration_s": round(duration_s, 3),
    }
