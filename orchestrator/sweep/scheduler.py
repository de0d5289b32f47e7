"""Cells through an executor: kept busy, losses repeated, every attempt kept."""

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
class Finished:
    """The end of a cell: exactly one of ``result`` and ``error`` is set; ``attempts`` holds all, the last one too."""

    cell: Cell
    attempts: tuple[Attempt, ...]
    result: CellResult | None = None
    error: JoulegridError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeued:
    """A cell whose last attempt was lost and which will be tried again."""

    cell: Cell
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """Indices of a queue, ascending: cells that may begin now, and cells that need not run at all."""

    ready: tuple[int, ...]
    not_needed: tuple[int, ...]


class Gate(Protocol):
    """Says, as cells end, which of those that wait may begin."""

    def ended(self, finished: Finished) -> None:
        """A cell has ended."""
        ...

    def sift(self, queue: Sequence[Cell]) -> Sifted:
        """What to do with the cells that wait; of a queue that is not empty nothing is ready only while cells run."""
        ...


def schedule(
    cells: Sequence[Cell],
    executor: Executor,
    *,
    max_attempts: int,
    stop: Callable[[], bool] = lambda: False,
    on_requeue: Callable[[Requeued], None] | None = None,
    on_lane: Callable[[LaneRecord], None] | None = None,
    earlier: Mapping[str, Sequence[Attempt]] | None = None,
    gate: Gate | None = None,
    drain_s: float = _DRAIN_S,
) -> Iterator[Finished]:
    """Run every cell that is needed once and yield each as it ends; one that is lost goes to the end of the queue.

    Args:
        cells: what to run, each once, in the order to start it, from which the executor departs where it must.
        executor: started; the caller closes it.
        max_attempts: attempts a cell gets in this run.
        stop: asked between events; once true nothing new starts, cells in flight get ``drain_s`` to end, then
            the iterator ends. Cells not yielded were not finished.
        on_requeue: told of every lost attempt before the cell is tried again, so that it can be persisted.
        on_lane: told of every lane whose engine has started or ended, as soon as that is known.
        earlier: attempts of previous runs by ``cell_id``: kept in front, not counted against ``max_attempts``.
        gate: holds cells back until others have ended and takes out what need not run; without one every cell runs.
        drain_s: see ``stop``.

    Raises:
        EnvironmentFailure: the executor can run nothing at all.
    """
    sweep = _Sweep(
        queue=deque(cells), executor=executor, max_attempts=max_attempts, earlier=dict(earlier or {}), gate=gate
    )
    deadline_s: float | None = None
    while sweep.in_flight or (sweep.queue and not stop()):
        if stop():
            deadline_s = deadline_s or time.monotonic() + drain_s
            if time.monotonic() >= deadline_s:
                return
        else:
            sweep.fill()
        ended = [sweep.settle(outcome) for outcome in executor.wait(_POLL_S)]
        for record in executor.lanes():
            if on_lane is not None:
                on_lane(record)
        failure = None if stop() else sweep.refill()  # it works on while the caller writes down what ended
        for event in ended:
            if isinstance(event, Finished):
                yield event
            elif on_requeue is not None:
                on_requeue(event)
        if failure is not None:
            raise failure


@dataclass(slots=True, kw_only=True)
class _Sweep:
    queue: deque[Cell]
    executor: Executor
    max_attempts: int
    earlier: dict[str, Sequence[Attempt]]
    gate: Gate | None
    in_flight: int = 0
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)

    def fill(self) -> None:
        while True:
            places, cells = self.offered()
            chosen = self.executor.choose(cells) if cells else None
            if chosen is None:
                return
            cell = cells[chosen]
            del self.queue[places[chosen]]
            self.executor.submit(cell)
            self.in_flight += 1

    def offered(self) -> tuple[Sequence[int], Sequence[Cell]]:
        """What may begin now, and its places in the queue; what need not run has left the queue."""
        if self.gate is None:
            return range(len(self.queue)), self.queue
        while self.queue:
            sifted, cells = self.gate.sift(self.queue), list(self.queue)
            if not sifted.not_needed:
                return sifted.ready, [cells[place] for place in sifted.ready]
            self.queue = deque(cell for place, cell in enumerate(cells) if place not in sifted.not_needed)
        return (), ()

    def refill(self) -> EnvironmentFailure | None:
        """What ends the sweep is not to lose what has ended before."""
        try:
            self.fill()
        except EnvironmentFailure as error:
            return error
        return None

    def settle(self, outcome: Outcome) -> Finished | Requeued:
        cell = outcome.cell
        before = tuple(self.earlier.get(cell.cell_id, ()))
        ours = self.attempts.setdefault(cell.cell_id, [])
        ours.append(_attempt(len(before) + len(ours) + 1, outcome))
        self.in_flight -= 1
        attempts = (*before, *ours)
        if outcome.error is not None and isinstance(decide(outcome.error, len(ours), self.max_attempts), Retry):
            self.queue.append(cell)
            return Requeued(cell=cell, attempts=attempts)
        finished = Finished(cell=cell, attempts=attempts, result=outcome.result, error=outcome.error)
        if self.gate is not None:
            self.gate.ended(finished)
        return finished


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


@dataclass(frozen=True, slots=True)
class Retry:
    """The cell may be fine: it goes back to the end of the queue."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The cell is recorded as failed; ``why`` ends its story in one phrase."""

    why: str


def decide(error: JoulegridError, n_attempts: int, max_attempts: int) -> Retry | Fail:
    """Whether a cell whose ``n_attempts``-th attempt of this run ended in ``error`` is tried again."""
    if not isinstance(error, InfrastructureError):
        return Fail("repeating it would fail again")
    if n_attempts >= max_attempts:
        return Fail(f"lost {n_attempts} times, which is max_attempts={max_attempts}")
    return Retry()
