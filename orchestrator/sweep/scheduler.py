"""Run cells through an executor: keep it busy, retry lost cells, keep every attempt."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.errors import EnvironmentFailure, InfrastructureError, JoulegridError
from orchestrator.records.record import Attempt, CellResult, LaneRecord
from orchestrator.spec.cell import Cell
from orchestrator.sweep.executor import Executor, Outcome

_POLL_S = 0.2
_DRAIN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedCell:
    """A cell that ended, with all its attempts; exactly one of ``result`` and ``error`` is set."""

    cell: Cell
    attempts: tuple[Attempt, ...]
    result: CellResult | None = None
    error: JoulegridError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeuedCell:
    """A cell whose last attempt was lost and which will be tried again."""

    cell: Cell
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePartition:
    """Ascending indices of a queue: cells that may start now, and cells that need not run at all."""

    runnable: tuple[int, ...]
    not_needed: tuple[int, ...]


class Gate(Protocol):
    """Decides, as cells end, which queued cells may start."""

    def cell_ended(self, finished: FinishedCell) -> None:
        """Take note of a cell that ended."""
        ...

    def partition_queue(self, queue: Sequence[Cell]) -> QueuePartition:
        """Split queued cells into runnable and not needed. At least one is either while no cell is in flight."""
        ...


def schedule(
    cells: Sequence[Cell],
    executor: Executor,
    *,
    max_attempts: int,
    stop: Callable[[], bool] = lambda: False,
    on_requeue: Callable[[RequeuedCell], None] = lambda requeued: None,
    on_lane: Callable[[LaneRecord], None] = lambda record: None,
    earlier: Mapping[str, Sequence[Attempt]] | None = None,
    gate: Gate | None = None,
    drain_s: float = _DRAIN_S,
) -> Iterator[FinishedCell]:
    """Run every needed cell once and yield each as it ends; a lost cell goes to the end of the queue.

    Args:
        cells: distinct cells in the order to start them; the executor may depart from it.
        executor: started; the caller closes it.
        max_attempts: attempts per cell in this run.
        stop: polled; once true, no cell starts and the iterator ends with the last cell in flight or after ``drain_s``.
        on_requeue: called with every lost attempt before the cell is tried again, to persist it.
        on_lane: called with every lane whose engine started or ended.
        earlier: attempts of previous runs by ``cell_id``; they come first and do not count against ``max_attempts``.
        gate: delays cells until others have ended and drops those not needed; None runs every cell.
        drain_s: seconds that cells in flight get to end after ``stop``.

    Raises:
        EnvironmentFailure: the executor cannot run anything.
    """
    scheduler = _Scheduler(deque(cells), executor, max_attempts, stop, on_requeue, on_lane, dict(earlier or {}), gate)
    return scheduler.run(drain_s)


@dataclass(slots=True)
class _Scheduler:
    queue: deque[Cell]
    executor: Executor
    max_attempts: int
    stop: Callable[[], bool]
    on_requeue: Callable[[RequeuedCell], None]
    on_lane: Callable[[LaneRecord], None]
    earlier: dict[str, Sequence[Attempt]]
    gate: Gate | None
    in_flight: int = 0
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)

    def run(self, drain_s: float) -> Iterator[FinishedCell]:
        deadline_s = math.inf
        while self.in_flight or (self.queue and not self.stop()):
            if self.stop():
                deadline_s = min(deadline_s, time.monotonic() + drain_s)
                if time.monotonic() >= deadline_s:
                    return
            else:
                self.fill()
            yield from self.collect()

    def collect(self) -> Iterator[FinishedCell]:
        """Wait for outcomes, report lanes and lost attempts, and yield the cells that ended."""
        events = [self.settle(outcome) for outcome in self.executor.wait(_POLL_S)]
        for record in self.executor.lanes():
            self.on_lane(record)
        failure = None if self.stop() else self.refill()  # first: new cells run while the caller writes records
        for event in events:
            if isinstance(event, FinishedCell):
                yield event
            else:
                self.on_requeue(event)
        if failure is not None:
            raise failure

    def fill(self) -> None:
        """Submit cells until the executor takes no more."""
        while True:
            places, cells = self.runnable()
            chosen = self.executor.choose(cells) if cells else None
            if chosen is None:
                return
            cell = cells[chosen]
            del self.queue[places[chosen]]
            self.executor.submit(cell)
            self.in_flight += 1

    def runnable(self) -> tuple[Sequence[int], Sequence[Cell]]:
        """Return the cells that may start now with their places in the queue; remove those not needed."""
        if self.gate is None:
            return range(len(self.queue)), self.queue
        while self.queue:
            partition, cells = self.gate.partition_queue(self.queue), list(self.queue)
            if not partition.not_needed:
                return partition.runnable, [cells[place] for place in partition.runnable]
            self.queue = deque(cell for place, cell in enumerate(cells) if place not in partition.not_needed)
        return (), ()

    def refill(self) -> EnvironmentFailure | None:
        """Fill; return the failure instead of raising it, so that cells that ended are yielded first."""
        try:
            self.fill()
        except EnvironmentFailure as error:
            return error
        return None

    def settle(self, outcome: Outcome) -> FinishedCell | RequeuedCell:
        """Add the attempt, then requeue the cell or finish it."""
        cell = outcome.cell
        earlier = tuple(self.earlier.get(cell.cell_id, ()))
        attempts = self.attempts.setdefault(cell.cell_id, [])
        attempts.append(_attempt(len(earlier) + len(attempts) + 1, outcome))
        self.in_flight -= 1
        if outcome.error is not None and is_retried(outcome.error, len(attempts), self.max_attempts):
            self.queue.append(cell)
            return RequeuedCell(cell=cell, attempts=(*earlier, *attempts))
        finished = FinishedCell(cell=cell, attempts=(*earlier, *attempts), result=outcome.result, error=outcome.error)
        if self.gate is not None:
            self.gate.cell_ended(finished)
        return finished


def is_retried(error: JoulegridError, n_attempts: int, max_attempts: int) -> bool:
    """Return whether a cell is tried again after ``error`` ended attempt ``n_attempts`` of this run."""
    return isinstance(error, InfrastructureError) and n_attempts < max_attempts


def _attempt(number: int, outcome: Outcome) -> Attempt:
    return Attempt(
        number=number,
        started_unix_s=outcome.started_unix_s,
        ended_unix_s=outcome.ended_unix_s,
        host=outcome.host,
        node=outcome.node,
        lane=outcome.lane,
        outcome="failed" if outcome.result is None else outcome.result.status,
        error_kind=None if outcome.error is None else type(outcome.error).__name__,
        error=None if outcome.error is None else str(outcome.error),
    )
