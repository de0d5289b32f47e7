"""From a cell that ended to its record on disk, on threads, so that fsync never blocks the scheduler."""

import socket
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from threading import Lock
from types import TracebackType
from typing import Any, Self

from orchestrator.errors import CellError, InfeasibleCell, JoulegridError
from orchestrator.measure.slo import objective_metrics
from orchestrator.measure.window import Window
from orchestrator.records.provenance import unix_now_s
from orchestrator.records.record import Attempt, CellRecord, CellResult
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Settings, Tariff, tariff_metrics
from orchestrator.store.sweep import SweepStore
from orchestrator.sweep.scheduler import FinishedCell, RequeuedCell

_N_THREADS = 8
_MAX_WAITING = 16


class RecordWriter:
    """A context manager that writes the records of ended cells on threads.

    ``write`` stores a record durably; then ``on_record`` is called with it, on a thread, one call at a time. At most
    16 cells wait to be written: a crash can lose these and the cells in flight. Leaving the block waits for all of
    them and raises the first error of ``write`` or ``on_record``, unless the block itself raised.
    """

    def __init__(self, write: Callable[[FinishedCell], CellRecord], on_record: Callable[[CellRecord], None]) -> None:
        self._write = write
        self._on_record = on_record
        self._on_record_lock = Lock()
        self._pool = ThreadPoolExecutor(_N_THREADS, thread_name_prefix="joulegrid-store")
        self._waiting: set[Future[None]] = set()
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until every record is written."""
        self._pool.shutdown()
        self._collect()
        if self._error is not None and raised is None:
            raise self._error

    def submit(self, finished: FinishedCell) -> None:
        """Queue a cell to be written; block while 16 wait."""
        while len(self._waiting) >= _MAX_WAITING:
            wait(self._waiting, return_when=FIRST_COMPLETED)
            self._collect()
        self._waiting.add(self._pool.submit(self._write_one, finished))

    def failed(self) -> bool:
        """Return whether a record could not be written, so that no further cell should start."""
        self._collect()
        return self._error is not None

    def _write_one(self, finished: FinishedCell) -> None:
        record = self._write(finished)
        with self._on_record_lock:
            self._on_record(record)

    def _collect(self) -> None:
        done = {future for future in self._waiting if future.done()}
        self._waiting -= done
        for future in done:
            self._error = self._error or future.exception()


def write_finished(store: SweepStore, settings: Settings, finished: FinishedCell) -> CellRecord:
    """Score and write a cell that ended; a result that JSON cannot hold (NaN, infinity) becomes a failed cell."""
    if finished.result is not None:
        finished = replace(finished, result=scored(finished.result, settings))
    try:
        return store.write(_record(finished), {} if finished.result is None else finished.result.series)
    except CellError as error:
        attempts = _with_last_failed(finished.attempts, error)
        return store.write(_record(FinishedCell(cell=finished.cell, attempts=attempts, error=error)), {})


def write_requeued(store: SweepStore, requeued: RequeuedCell) -> None:
    """Write the attempts so far, so that they survive a crash of the driver before the cell is tried again."""
    store.write(_record(FinishedCell(cell=requeued.cell, attempts=requeued.attempts)), {})


def write_infeasible(store: SweepStore, cell: Cell, reason: str) -> CellRecord:
    """Write a cell that fits no node as failed, without starting it."""
    now_s = unix_now_s()
    attempt = Attempt(
        number=1,
        started_unix_s=now_s,
        ended_unix_s=now_s,
        host=socket.gethostname(),
        outcome="failed",
        error_kind=InfeasibleCell.__name__,
        error=reason,
    )
    attempts = merged_attempts(store.read_record(cell.cell_id), [attempt])
    return store.write(_record(FinishedCell(cell=cell, attempts=attempts)), {})


def scored(result: CellResult, settings: Settings) -> CellResult:
    """Return the result with the metrics of the objective and the tariff, and both in its provenance if set."""
    slo, tariff = settings.slo, settings.tariff
    metrics = {**result.metrics, **tariff_metrics(result.metrics, tariff)}
    provenance: dict[str, Any] = dict(result.provenance)
    if slo.limits_anything:
        metrics |= objective_metrics(result.series, Window(**result.window), slo)
        provenance["slo"] = slo.model_dump(exclude_none=True)
    if tariff != Tariff():
        provenance["tariff"] = tariff.model_dump(exclude_none=True)
    return replace(result, metrics=metrics, provenance=provenance)


def merged_attempts(old: CellRecord | None, new: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """Return the attempts of the old record followed by the new ones, with consecutive numbers."""
    before = old.attempts if old is not None else ()
    numbered = (attempt.model_copy(update={"number": len(before) + i}) for i, attempt in enumerate(new, start=1))
    return (*before, *numbered)


def _record(finished: FinishedCell) -> CellRecord:
    cell, result = finished.cell, finished.result
    common = {
        "cell_id": cell.cell_id,
        "engine_key": cell.engine_key,
        "cell": cell.canonical(),
        "attempts": finished.attempts,
    }
    if result is None:
        return CellRecord(status="failed", simulated=cell.engine.simulated, **common)
    return CellRecord(
        status=result.status,
        simulated=result.simulated,
        reasons=result.reasons,
        window=result.window,
        phases=result.phases,
        provenance=result.provenance,
        control=result.control,
        metrics=result.metrics,
        **common,
    )


def _with_last_failed(attempts: tuple[Attempt, ...], error: JoulegridError) -> tuple[Attempt, ...]:
    failure = {"outcome": "failed", "error_kind": type(error).__name__, "error": str(error)}
    return (*attempts[:-1], attempts[-1].model_copy(update=failure))
