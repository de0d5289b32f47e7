"""``run``: the main job. A sweep is begun or taken up again, run to its end, tracked and reported."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.analysis.pooling import write_pooled
from orchestrator.analysis.results import write_results
from orchestrator.errors import EnvironmentFailure
from orchestrator.lanes.executor import RayExecutor
from orchestrator.matrix.matrix import asked_matrix
from orchestrator.matrix.validate import infeasible_cells
from orchestrator.ray_runtime.preflight import preflight
from orchestrator.records import provenance
from orchestrator.records.record import CellRecord
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Matrix, Settings
from orchestrator.store.paths import LATEST, find_sweep
from orchestrator.store.sweep import SweepStore, prepare
from orchestrator.sweep.console import State, resume_command, run_line, say, state_of, tell_end, tell_start, warn
from orchestrator.sweep.driver import Driver
from orchestrator.sweep.executor import Executor, InlineExecutor
from orchestrator.sweep.order import block_of
from orchestrator.sweep.progress import SweepProgress
from orchestrator.sweep.resume import resume
from orchestrator.sweep.scoring import judged_otherwise, judging_as_before
from orchestrator.sweep.signals import INTERRUPTED_EXIT_CODE, interruptible
from orchestrator.sweep.stopping import keep_not_needed, stopping_as_before, stopping_of
from orchestrator.tracking.logger import Logger


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What is to do; ``store`` is None where a new sweep is written once its executor stands.

    ``not_needed`` says why cells of the matrix are not to run although they have no record.
    """

    matrix: Matrix
    to_run: tuple[Cell, ...]
    settings: Settings
    store: SweepStore | None
    not_needed: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def run(matrix: Matrix, settings: Settings) -> int:
    """Run a matrix, or what is left of a sweep; the result is the exit code.

    Raises:
        UserError: the sweep to resume is not there, is another matrix, or is being worked on.
        EnvironmentFailure: the runs folder, the cluster or a server cannot be used.
    """
    begun_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        job = _job(matrix, settings, stack)
        settings = job.settings
        refused = infeasible_cells(job.to_run)
        tell_start(job.matrix, job.to_run, refused, job.warnings, n_not_needed=len(job.not_needed))
        runnable = tuple(cell for cell in job.to_run if cell.cell_id not in refused)
        preflight(runnable, settings)
        executor = _started(settings, stack) if runnable else None
        store = job.store or _created(job.matrix, settings, stack)
        logger = Logger(store, settings.tracking, warn=warn) if settings.tracking.enabled else None
        interrupt = stack.enter_context(interruptible())
        stack.enter_context(_resumable(store.sweep_id, settings))
        simulated = all(cell.engine.simulated for cell in job.to_run)
        with SweepProgress(len(job.to_run), simulated=simulated) as progress:
            driver = Driver(store=store, settings=settings, on_record=_follow(logger, progress))
            for cell in job.to_run:
                if cell.cell_id in refused:
                    driver.refuse(cell, refused[cell.cell_id])
            if executor is not None:
                gate = stopping_of(
                    store,
                    job.matrix.cells,
                    runnable,
                    settings,
                    settled=job.not_needed,
                    on_not_needed=progress.not_needed,
                )
                driver.run(runnable, executor, interrupt, gate)
                executor.close()
                driver.keep_lanes(executor)
        keep_not_needed(store, job.matrix.cells, settings)
        state = state_of(store, rerun={cell.cell_id for cell in job.to_run})
        report = _finished(store, logger, interrupt)
    tell_end(store, state, settings, report=report, interrupted=interrupt.requested)
    say(run_line(store, state, settings, report, time.monotonic() - begun_s))
    return INTERRUPTED_EXIT_CODE if interrupt.requested else _exit_code(state)


def _job(matrix: Matrix, settings: Settings, stack: contextlib.ExitStack) -> _Job:
    """A new sweep's whole matrix, or what is left of the sweep to resume, whose lock is then held."""
    runs_dir = Path(settings.runs_dir)
    if settings.resume is None:
        prepare(runs_dir)
        return _Job(matrix=matrix, to_run=matrix.cells, settings=settings, store=None)
    asked = asked_matrix(matrix)
    name = asked.name if asked is not None and settings.resume == LATEST else None
    store = SweepStore.open(find_sweep(runs_dir, settings.resume, name).root)
    prepare(runs_dir)
    stack.enter_context(store.lock())
    last = store.manifest.starts[-1]
    settings = stopping_as_before(judging_as_before(settings, last), last)
    found = resume(store, asked, settings, provenance.collect())
    warnings = (*found.warnings, *judged_otherwise(settings, last))
    return _Job(
        matrix=found.matrix,
        to_run=found.to_run,
        settings=settings,
        store=store,
        not_needed=found.not_needed,
        warnings=warnings,
    )


def _created(matrix: Matrix, settings: Settings, stack: contextlib.ExitStack) -> SweepStore:
    store = SweepStore.create(Path(settings.runs_dir), matrix, settings, provenance.collect())
    stack.enter_context(store.lock())
    return store


def _started(settings: Settings, stack: contextlib.ExitStack) -> Executor:
    """The executor, ready; closed with the stack whatever happens."""
    executor: Executor = InlineExecutor(run_cell)
    if settings.executor == "ray":
        executor = RayExecutor(
            settings.cluster,
            run_cell,
            block_of=lambda cell: block_of(cell, settings.order),
            max_attempts=settings.max_attempts,
            warn=warn,
        )
    stack.callback(executor.close)
    executor.start()
    return executor


@contextlib.contextmanager
def _resumable(sweep_id: str, settings: Settings) -> Iterator[None]:
    """Say how to go on where the surroundings end a sweep in the middle: a full disk, a cluster that is gone."""
    try:
        yield
    except EnvironmentFailure:
        say(f"resume with: {resume_command(sweep_id, settings)}")
        raise


def _follow(logger: Logger | None, progress: SweepProgress) -> Callable[[CellRecord], None]:
    def on_record(record: CellRecord) -> None:
        if logger is not None:
            logger.submit(record.cell_id)
        progress.ended(record.status, record.metrics)

    return on_record


def _finished(store: SweepStore, logger: Logger | None, stop: Callable[[], bool]) -> str | None:
    """Results, report and the last of MLflow; the path of the report, None where there is none."""
    write_results(store)
    write_pooled(store)
    report = None if stop() else _reported(store)
    if logger is not None:
        logger.close(stop)
    return report


def _reported(store: SweepStore) -> str | None:
    try:
        from orchestrator.report.page import write_report  # a node of a cluster may do without plotly

        return str(write_report(store))
    except Exception as error:  # a supervisor: a figure that cannot be drawn must not cost a finished sweep
        warn(
            f"no report: {type(error).__name__}: {error}; `python -m orchestrator report {store.sweep_id}` tries again"
        )
        return None


def _exit_code(state: State) -> int:
    return 0 if state.ok + state.not_needed == state.cells else 1
