"""Cells through an executor: kept busy, losses repeated, every attempt kept."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.cell import Cell
from orchestrator.errors import EnvironmentFailure, JoulegridError
from orchestrator.execution.executor import Executor, Outcome
from orchestrator.execution.policy import Retry, decide
from orchestrator.record import Attempt, CellResult, LaneRecord

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


def schedule(
    cells: Sequence[Cell],
    executor: Executor,
    *,
    max_attempts: int,
    stop: Callable[[], bool] = lambda: False,
    on_requeue: Callable[[Requeued], None] | None = None,
    on_lane: Callable[[LaneRecord], None] | None = None,
    earlier: Mapping[str, Sequence[Attempt]] | None = None,
    drain_s: float = _DRAIN_S,
) -> Iterator[Finished]:
    """Run every cell once and yield each as it ends; one that is lost goes to the end of the queue.

    Args:
        cells: what to run, each once, in the order to start it, from which the executor departs where it must.
        executor: started; the caller closes it.
        max_attempts: attempts a cell gets in this run.
        stop: asked between events; once true nothing new starts, cells in flight get ``drain_s`` to end, then
            the iterator ends. Cells not yielded were not finished.
        on_requeue: told of every lost attempt before the cell is tried again, so that it can be persisted.
        on_lane: told of every lane whose engine has started or ended, as soon as that is known.
        earlier: attempts of previous runs by ``cell_id``: kept in front, not counted against ``max_attempts``.
        drain_s: see ``stop``.

    Raises:
        EnvironmentFailure: the executor can run nothing at all.
    """
    sweep = _Sweep(queue=deque(cells), executor=executor, max_attempts=max_attempts, earlier=dict(earlier or {}))
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
    in_flight: int = 0
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)

    def fill(self) -> None:
        while self.queue and (index := self.executor.choose(self.queue)) is not None:
            cell = self.queue[index]
            del self.queue[index]
            self.executor.submit(cell)
            self.in_flight += 1

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
        return Finished(cell=cell, attempts=attempts, result=outcome.result, error=outcome.error)


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
