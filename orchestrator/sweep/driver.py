"""The driver of one sweep: prepare, execute, publish. Only its process writes the sweep's folder."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from orchestrator.errors import EnvironmentFailure
from orchestrator.records import provenance
from orchestrator.records.record import CellRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Matrix, Settings, TrackingSettings
from orchestrator.store.paths import LATEST, find_sweep
from orchestrator.store.sweep import SweepStore, prepare_runs_dir
from orchestrator.sweep.console import CellCounts, count_cells, print_end, print_resume_hint, print_start, warn
from orchestrator.sweep.executor import Executor
from orchestrator.sweep.order import ordered
from orchestrator.sweep.progress import SweepProgress
from orchestrator.sweep.record_writer import RecordWriter, write_finished, write_infeasible, write_requeued
from orchestrator.sweep.resume import SweepWork, resume
from orchestrator.sweep.scheduler import Gate, schedule
from orchestrator.sweep.signals import INTERRUPTED_EXIT_CODE, interruptible
from orchestrator.sweep.stopping import stop_rule_gate, write_not_needed


class RecordLogger(Protocol):
    """Logs the records of a sweep to a tracking server without blocking the driver."""

    def submit(self, cell_id: str) -> None:
        """Queue a cell whose record is on disk."""
        ...

    def close(self, stop: Callable[[], bool]) -> object:
        """Log what is queued and end; soon after ``stop`` returns true, leave the rest."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a sweep uses from packages above this one; the command supplies it.

    Args:
        infeasible_cells: returns why cells fit no node, by cell id.
        preflight: raises if the runnable cells cannot run in these settings.
        new_executor: returns an executor that is not started.
        new_logger: returns a running logger; called only if tracking is enabled.
        write_tables: writes the result tables of the sweep.
        write_report: writes the report and returns its path.
    """

    infeasible_cells: Callable[[Sequence[Cell]], Mapping[str, str]]
    preflight: Callable[[Sequence[Cell], Settings], None]
    new_executor: Callable[[Settings], Executor]
    new_logger: Callable[[SweepStore, TrackingSettings], RecordLogger]
    write_tables: Callable[[SweepStore], None]
    write_report: Callable[[SweepStore], Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSweep:
    """A sweep ready to run: locked store, started executor (None if no cell can run), running logger if enabled."""

    work: SweepWork
    infeasible: Mapping[str, str]
    runnable: tuple[Cell, ...]
    store: SweepStore
    executor: Executor | None
    logger: RecordLogger | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """What a run of a sweep left on disk; ``report`` is the path of the report, None without one."""

    store: SweepStore
    settings: Settings
    counts: CellCounts
    report: str | None
    interrupted: bool

    @property
    def exit_code(self) -> int:
        """Return 130 after an interrupt, 0 if every needed cell is ok, else 1."""
        if self.interrupted:
            return INTERRUPTED_EXIT_CODE
        return 0 if self.counts.ok + self.counts.not_needed == self.counts.cells else 1


def run_sweep(matrix: Matrix, requested: Matrix | None, settings: Settings, services: Services) -> SweepResult:
    """Run a matrix, or what is left of the sweep to resume, and print how it starts and ends.

    ``requested`` is the matrix if the command line names cells, else None. It must be that of the sweep to resume, or
    add to it with ``extend``; with ``resume=latest`` its name selects the sweep.

    Raises:
        UserError: the sweep to resume does not exist, has another matrix, or is locked by another driver.
        EnvironmentFailure: the runs folder, the cluster or a server cannot be used.
    """
    with contextlib.ExitStack() as stack:
        sweep = prepare(matrix, requested, settings, services, stack)
        interrupt = stack.enter_context(interruptible())
        stack.enter_context(_resume_hint(sweep))
        execute(sweep, interrupt)
        result = publish(sweep, services, interrupt)
    result = replace(result, interrupted=interrupt())  # an interrupt may come while the executor closes
    print_end(result.store, result.counts, result.settings, report=result.report, interrupted=result.interrupted)
    return result


def prepare(
    matrix: Matrix, requested: Matrix | None, settings: Settings, services: Services, stack: contextlib.ExitStack
) -> PreparedSweep:
    """Find and print the cells to run, start the executor, create the sweep unless it is resumed, start the logger.

    A new sweep is created only after its executor has started. ``stack`` releases the lock and closes the executor.
    """
    store = None
    if settings.resume is None:
        prepare_runs_dir(Path(settings.runs_dir))
        work = SweepWork(matrix=matrix, to_run=matrix.cells, settings=settings)
    else:
        store = _open_locked(requested, settings, stack)
        work = resume(store, requested, settings, provenance.collect())
    settings = work.settings
    infeasible = services.infeasible_cells(work.to_run)
    print_start(work.matrix, work.to_run, infeasible, work.warnings, n_not_needed=len(work.not_needed))
    runnable = tuple(cell for cell in work.to_run if cell.cell_id not in infeasible)
    services.preflight(runnable, settings)
    executor = _started(services.new_executor(settings), stack) if runnable else None
    if store is None:
        store = SweepStore.create(Path(settings.runs_dir), work.matrix, settings, provenance.collect())
        stack.enter_context(store.lock())
    logger = services.new_logger(store, settings.tracking) if settings.tracking.enabled else None
    return PreparedSweep(
        work=work, infeasible=infeasible, runnable=runnable, store=store, executor=executor, logger=logger
    )


def execute(sweep: PreparedSweep, stop: Callable[[], bool]) -> None:
    """Record the infeasible cells as failed and run the others, until all have ended or ``stop`` returns true.

    Then close the executor and write the records of the lanes that ended with it.
    """
    work, store, executor = sweep.work, sweep.store, sweep.executor
    simulated = all(cell.engine.simulated for cell in work.to_run)
    with SweepProgress(len(work.to_run), simulated=simulated) as progress:

        def on_record(record: CellRecord) -> None:
            if sweep.logger is not None:
                sweep.logger.submit(record.cell_id)
            progress.cell_ended(record.status, record.metrics)

        for cell in work.to_run:
            if cell.cell_id in sweep.infeasible:
                on_record(write_infeasible(store, cell, sweep.infeasible[cell.cell_id]))
        if executor is not None:
            gate = stop_rule_gate(
                store,
                work.matrix.cells,
                sweep.runnable,
                work.settings,
                not_needed=work.not_needed,
                on_not_needed=progress.cell_not_needed,
            )
            run_cells(sweep.runnable, executor, store, work.settings, on_record=on_record, stop=stop, gate=gate)
            executor.close()
            for record in executor.lanes():
                store.write_lane(record)


def run_cells(
    cells: Sequence[Cell],
    executor: Executor,
    store: SweepStore,
    settings: Settings,
    *,
    on_record: Callable[[CellRecord], None],
    stop: Callable[[], bool] = lambda: False,
    gate: Gate | None = None,
) -> None:
    """Run cells in the order of the settings and write each record; ``on_record`` is called after each write."""
    with RecordWriter(lambda finished: write_finished(store, settings, finished), on_record) as writer:
        for finished in schedule(
            ordered(cells, settings.order),
            executor,
            max_attempts=settings.max_attempts,
            stop=lambda: stop() or writer.failed(),
            on_requeue=lambda requeued: write_requeued(store, requeued),
            on_lane=store.write_lane,
            earlier={
                cell.cell_id: record.attempts
                for cell in cells
                if (record := store.read_record(cell.cell_id)) is not None
            },
            gate=gate,
        ):
            writer.submit(finished)


def publish(sweep: PreparedSweep, services: Services, stop: Callable[[], bool]) -> SweepResult:
    """Write which cells were not needed, the result tables and, unless stopped, the report; then finish logging."""
    store, work = sweep.store, sweep.work
    write_not_needed(store, work.matrix.cells, work.settings)
    counts = count_cells(store, started={cell.cell_id for cell in work.to_run})
    services.write_tables(store)
    report = None if stop() else _write_report(store, services)
    if sweep.logger is not None:
        sweep.logger.close(stop)
    return SweepResult(store=store, settings=work.settings, counts=counts, report=report, interrupted=stop())


def _open_locked(requested: Matrix | None, settings: Settings, stack: contextlib.ExitStack) -> SweepStore:
    runs_dir, wanted = Path(settings.runs_dir), str(settings.resume)
    name = requested.name if requested is not None and wanted == LATEST else None
    store = SweepStore.open(find_sweep(runs_dir, wanted, name).root)
    prepare_runs_dir(runs_dir)
    stack.enter_context(store.lock())
    return store


def _started(executor: Executor, stack: contextlib.ExitStack) -> Executor:
    stack.callback(executor.close)
    executor.start()
    return executor


@contextlib.contextmanager
def _resume_hint(sweep: PreparedSweep) -> Iterator[None]:
    """Print how to resume if the environment ends the sweep: a full disk, a lost cluster."""
    try:
        yield
    except EnvironmentFailure:
        print_resume_hint(sweep.store.sweep_id, sweep.work.settings)
        raise


def _write_report(store: SweepStore, services: Services) -> str | None:
    try:
        return str(services.write_report(store))
    except Exception as error:  # a supervisor: a figure that cannot be drawn must not fail a finished sweep
        warn(
            f"no report: {type(error).__name__}: {error}; `python -m orchestrator report {store.sweep_id}` tries again"
        )
        return None
