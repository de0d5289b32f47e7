"""The driver of one sweep: the only process that writes. Cells go out, records come home, MLflow follows."""

import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from threading import Lock
from types import TracebackType
from typing import Self

from orchestrator.errors import CellError, InfeasibleCell, JoulegridError
from orchestrator.records.provenance import unix_now_s
from orchestrator.records.record import Attempt, CellRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Settings
from orchestrator.store.sweep import SweepStore
from orchestrator.sweep.executor import Executor
from orchestrator.sweep.order import ordered
from orchestrator.sweep.resume import merged_attempts
from orchestrator.sweep.scheduler import Finished, Gate, Requeued, schedule
from orchestrator.sweep.scoring import judged

_WRITERS = 8
_MOST_WAITING = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """Runs cells of a sweep whose lock is held, and keeps each record as it comes.

    ``on_record`` is told of every record once it is on disk, in a thread, one at a time.
    """

    store: SweepStore
    settings: Settings
    on_record: Callable[[CellRecord], None]

    def refuse(self, cell: Cell, cause: str) -> None:
        """Record a cell that fits no node as failed, without starting it."""
        now_s = unix_now_s()
        attempt = Attempt(
            number=1,
            started_unix_s=now_s,
            ended_unix_s=now_s,
            host=socket.gethostname(),
            outcome="failed",
            error_kind=InfeasibleCell.__name__,
            error=cause,
        )
        attempts = merged_attempts(self.store.read_record(cell.cell_id), [attempt])
        self.on_record(self._write(Finished(cell=cell, attempts=attempts, error=InfeasibleCell(cause))))

    def run(
        self, cells: Sequence[Cell], executor: Executor, stop: Callable[[], bool], gate: Gate | None = None
    ) -> None:
        """Run the cells that ``gate`` lets pass in the order the settings ask for, until all have ended or ``stop``."""
        with Keeper(self._write, self.on_record) as keeper:
            for finished in schedule(
                ordered(cells, self.settings.order),
                executor,
                max_attempts=self.settings.max_attempts,
                stop=lambda: stop() or keeper.failed(),
                on_requeue=self._keep_loss,
                on_lane=self.store.write_lane,
                earlier=dict(self._earlier(cells)),
                gate=gate,
            ):
                keeper.take(finished)

    def keep_lanes(self, executor: Executor) -> None:
        """Write the records of the lanes that ended as the executor was closed."""
        for record in executor.lanes():
            self.store.write_lane(record)

    def _earlier(self, cells: Sequence[Cell]) -> Iterator[tuple[str, tuple[Attempt, ...]]]:
        for cell in cells:
            old = self.store.read_record(cell.cell_id)
            if old is not None:
                yield cell.cell_id, old.attempts

    def _keep_loss(self, lost: Requeued) -> None:
        """A cell that will be tried again: its causes so far outlive a driver that does not."""
        self.store.write(_record(Finished(cell=lost.cell, attempts=lost.attempts)), {})

    def _write(self, finished: Finished) -> CellRecord:
        if finished.result is not None:
            finished = replace(finished, result=judged(finished.result, self.settings))
        try:
            return self.store.write(_record(finished), {} if finished.result is None else finished.result.series)
        except CellError as error:  # a number JSON cannot hold: the cell is at fault, not the sweep
            failed = Finished(cell=finished.cell, attempts=_last_failed(finished.attempts, error), error=error)
            return self.store.write(_record(failed), {})


def _record(finished: Finished) -> CellRecord:
    cell, result = finished.cell, finished.result
    known = {
        "cell_id": cell.cell_id,
        "engine_key": cell.engine_key,
        "cell": cell.canonical(),
        "attempts": finished.attempts,
    }
    if result is None:
        return CellRecord(status="failed", simulated=cell.engine.simulated, **known)
    return CellRecord(
        status=result.status,
        simulated=result.simulated,
        reasons=result.reasons,
        window=result.window,
        phases=result.phases,
        provenance=result.provenance,
        control=result.control,
        metrics=result.metrics,
        **known,
    )


def _last_failed(attempts: tuple[Attempt, ...], error: JoulegridError) -> tuple[Attempt, ...]:
    told = {"outcome": "failed", "error_kind": type(error).__name__, "error": str(error)}
    return (*attempts[:-1], attempts[-1].model_copy(update=told))


class Keeper:
    """A context manager that hands ends of cells to ``write`` in threads, and the records written to ``on_record``.

    Each record is as durable as ``write`` makes it before ``on_record`` is told of it, one at a time. At most 16 ends
    wait: what a crash can cost beside the cells in flight. An error of either is raised when the block ends.
    """

    def __init__(self, write: Callable[[Finished], CellRecord], on_record: Callable[[CellRecord], None]) -> None:
        self._write = write
        self._on_record = on_record
        self._telling = Lock()
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="joulegrid-store")
        self._waiting: set[Future[None]] = set()
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        """Nothing is needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all that was taken is kept."""
        self._pool.shutdown()
        self._collect()
        if self._error is not None and raised is None:
            raise self._error

    def take(self, finished: Finished) -> None:
        """Keep the end of a cell soon; waits while too many do."""
        while len(self._waiting) >= _MOST_WAITING:
            wait(self._waiting, return_when=FIRST_COMPLETED)
            self._collect()
        self._waiting.add(self._pool.submit(self._keep, finished))

    def failed(self) -> bool:
        """Whether something could not be kept, so that nothing more should be begun."""
        self._collect()
        return self._error is not None

    def _keep(self, finished: Finished) -> None:
        record = self._write(finished)
        with self._telling:
            self._on_record(record)

    def _collect(self) -> None:
        done = {future for future in self._waiting if future.done()}
        self._waiting -= done
        for future in done:
            self._error = self._error or future.exception()
