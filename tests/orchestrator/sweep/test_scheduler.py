"""The scheduler against an executor whose outcomes are written down beforehand."""

from collections import deque
from collections.abc import Callable, Sequence

import pytest
from cell_functions import a_result
from sample_sweeps import a_cell

from orchestrator.errors import (
    CellError,
    EnvironmentFailure,
    InfeasibleCell,
    InfrastructureError,
    JoulegridError,
    UserError,
)
from orchestrator.records.record import Attempt, LaneRecord
from orchestrator.spec.cell import Cell
from orchestrator.sweep.executor import Outcome
from orchestrator.sweep.scheduler import RequeuedCell, is_retried, schedule


class Scripted:
    """Ends cells first in, first out; ``script`` maps a cell's repeat to the errors of its tries, in turn."""

    def __init__(self, script: dict[int, list[JoulegridError]] | None = None, slots: int = 2) -> None:
        self.slots = slots
        self.script = script or {}
        self.submitted: list[int] = []
        self.in_flight: deque[Cell] = deque()
        self.most_in_flight = 0
        self.holds = False

    def start(self) -> None: ...

    def close(self) -> None: ...

    def lanes(self) -> Sequence[LaneRecord]:
        return ()

    def choose(self, queue: Sequence[Cell]) -> int | None:
        return 0 if len(self.in_flight) < self.slots else None

    def submit(self, cell: Cell) -> None:
        self.submitted.append(cell.repeat)
        self.in_flight.append(cell)
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))

    def wait(self, timeout_s: float) -> Sequence[Outcome]:
        if self.holds or not self.in_flight:
            return ()
        cell = self.in_flight.popleft()
        errors = self.script.get(cell.repeat, [])
        error = errors.pop(0) if errors else None
        result = None if error else a_result()
        return (Outcome(cell=cell, host="h", started_unix_s=1, ended_unix_s=2, result=result, error=error),)


def _cells(n: int) -> list[Cell]:
    return [a_cell(repeat=index) for index in range(n)]


def _repeats(finished) -> list[int]:
    return [each.cell.repeat for each in finished]


def test_every_cell_runs_once_in_order_and_no_slot_is_exceeded():
    executor = Scripted(slots=3)
    assert _repeats(schedule(_cells(7), executor, max_attempts=3)) == list(range(7))
    assert executor.submitted == list(range(7))
    assert executor.most_in_flight == 3


def test_slots_are_filled_before_the_caller_sees_what_ended():
    executor = Scripted(slots=2)
    next(schedule(_cells(5), executor, max_attempts=3))
    assert executor.submitted == [0, 1, 2]


def test_the_executor_chooses_among_those_that_wait():
    class FromTheEnd(Scripted):
        def choose(self, queue: Sequence[Cell]) -> int | None:
            return None if self.in_flight else len(queue) - 1

    executor = FromTheEnd()
    assert _repeats(schedule(_cells(4), executor, max_attempts=3)) == [3, 2, 1, 0]


def test_lanes_are_told_of_before_any_cell_has_ended():
    class OnALane(Scripted):
        def lanes(self) -> Sequence[LaneRecord]:
            calls.append("asked")
            return (LaneRecord(lane_id="k-1", engine_key="k", started_unix_s=1),)

    calls: list[str] = []
    next(schedule(_cells(2), OnALane(), max_attempts=1, on_lane=lambda record: calls.append(record.lane_id)))
    assert calls == ["asked", "k-1"]


def test_a_lost_cell_goes_to_the_end_and_keeps_every_attempt():
    executor = Scripted({1: [InfrastructureError("node a went"), InfrastructureError("node b went")]})
    requeued: list[RequeuedCell] = []
    finished = list(schedule(_cells(3), executor, max_attempts=3, on_requeue=requeued.append))
    assert _repeats(finished) == [0, 2, 1]
    last = finished[-1]
    assert last.result is not None
    assert [(a.number, a.outcome, a.error_kind, a.error) for a in last.attempts] == [
        (1, "failed", "InfrastructureError", "node a went"),
        (2, "failed", "InfrastructureError", "node b went"),
        (3, "ok", None, None),
    ]
    assert [each.attempts for each in requeued] == [last.attempts[:1], last.attempts[:2]]


def test_a_cell_that_is_always_lost_fails_after_max_attempts():
    executor = Scripted({0: [InfrastructureError(f"loss {n}") for n in range(9)]})
    finished = list(schedule(_cells(2), executor, max_attempts=2))
    assert _repeats(finished) == [1, 0]
    assert executor.submitted.count(0) == 2
    assert str(finished[-1].error) == "loss 1"
    assert finished[-1].result is None


def test_one_bad_cell_stops_nothing_and_is_not_repeated():
    executor = Scripted({0: [CellError("ValueError: no (x.py:1 in f)")]})
    finished = list(schedule(_cells(3), executor, max_attempts=3))
    assert _repeats(finished) == [0, 1, 2]
    assert [each.error is None for each in finished] == [False, True, True]
    assert executor.submitted == [0, 1, 2]


def _stop_after(n: int) -> tuple[Callable[[], bool], list[int]]:
    seen: list[int] = []
    return (lambda: len(seen) >= n), seen


def test_a_stop_starts_nothing_new_and_keeps_what_is_in_flight_and_ends():
    executor = Scripted(slots=2)
    stop, seen = _stop_after(1)
    for finished in schedule(_cells(9), executor, max_attempts=3, stop=stop):
        seen.append(finished.cell.repeat)
    assert seen == [0, 1, 2]
    assert executor.submitted == [0, 1, 2]


def test_a_stop_abandons_what_does_not_end():
    executor = Scripted(slots=2)
    stop, seen = _stop_after(1)
    for finished in schedule(_cells(9), executor, max_attempts=3, stop=stop, drain_s=0.05):
        seen.append(finished.cell.repeat)
        executor.holds = True
    assert seen == [0]


def test_a_cell_lost_after_the_stop_is_told_and_left_for_a_resume():
    executor = Scripted({1: [InfrastructureError("gone")]}, slots=2)
    stop, seen = _stop_after(1)
    requeued: list[RequeuedCell] = []
    for finished in schedule(_cells(2), executor, max_attempts=3, stop=stop, on_requeue=requeued.append):
        seen.append(finished.cell.repeat)
    assert seen == [0]
    assert [each.cell.repeat for each in requeued] == [1]


def test_stopped_before_it_began_nothing_starts():
    executor = Scripted()
    assert list(schedule(_cells(2), executor, max_attempts=1, stop=lambda: True)) == []
    assert executor.submitted == []


def test_earlier_attempts_stay_in_front_and_do_not_count():
    (cell,) = _cells(1)
    old = Attempt(
        number=1, started_unix_s=0, ended_unix_s=1, host="x", outcome="failed", error_kind="CellError", error="old"
    )
    executor = Scripted({0: [InfrastructureError("new")]})
    (finished,) = schedule([cell], executor, max_attempts=2, earlier={cell.cell_id: (old,)})
    assert [(a.number, a.outcome) for a in finished.attempts] == [(1, "failed"), (2, "failed"), (3, "ok")]
    assert finished.attempts[0] == old


def test_an_executor_that_can_run_nothing_ends_the_sweep():
    class Broken(Scripted):
        def wait(self, timeout_s: float) -> Sequence[Outcome]:
            raise EnvironmentFailure("no worker could be placed")

    with pytest.raises(EnvironmentFailure, match="no worker could be placed"):
        list(schedule(_cells(1), Broken(), max_attempts=3))


@pytest.mark.parametrize("n_attempts", [1, 2])
def test_a_loss_is_tried_again_until_the_attempts_are_used_up(n_attempts):
    assert is_retried(InfrastructureError("lost"), n_attempts, 3)
    assert not is_retried(InfrastructureError("lost"), n_attempts, n_attempts)


@pytest.mark.parametrize("kind", [CellError, InfeasibleCell, UserError, EnvironmentFailure])
def test_what_is_wrong_with_the_cell_is_never_repeated(kind):
    assert not is_retried(kind("no"), 1, 3)
