"""Workers and lanes take turns, without Ray."""

from types import SimpleNamespace

import pytest
from lane_fakes.cells import a_lane_cell, in_virtual_time
from sample_sweeps import a_cell

from orchestrator.lanes.executor import RayExecutor
from orchestrator.lanes.turns import CloseIdleLanes, DismissWorkers, UseLanes, UseWorker, Wait, WorkersView, next_turn
from orchestrator.spec.settings import ClusterSettings

REAL, VIRTUAL = a_lane_cell(), a_cell()


@pytest.mark.parametrize(
    ("queue", "any_lane", "workers", "turn"),
    [
        ([REAL, VIRTUAL], False, "has_room", UseWorker(index=1)),
        ([REAL, VIRTUAL], False, "is_busy", Wait()),
        ([VIRTUAL, REAL], True, "has_room", UseLanes(indices=(1,))),
        ([VIRTUAL], True, "has_room", CloseIdleLanes()),
        ([REAL], False, "is_busy", Wait()),
        ([REAL], False, "any_idle", DismissWorkers()),
        ([REAL, REAL], False, "has_room", UseLanes(indices=(0, 1))),
    ],
)
def test_a_table_of_turns(queue, any_lane, workers, turn):
    view = WorkersView(**{name: name == workers for name in ("has_room", "is_busy", "any_idle")})
    assert next_turn(queue, any_lane=any_lane, workers=view) == turn


def test_lanes_are_chosen_only_after_idle_workers_are_dismissed():
    executor = RayExecutor(ClusterSettings(), in_virtual_time)
    workers = SimpleNamespace(is_busy=False, has_room=True, any_idle=True)
    workers.dismiss_idle = lambda: setattr(workers, "any_idle", False)
    executor._workers = workers
    executor._lanes = SimpleNamespace(is_empty=True, choose=lambda queue: 0)
    assert [executor.choose([REAL]) for _ in range(2)] == [None, 0]
