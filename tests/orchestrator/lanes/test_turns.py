"""Workers and lanes take turns: which of them the executor asks, without Ray."""

from types import SimpleNamespace

from lane_fakes.cells import a_lane_cell, in_virtual_time

from orchestrator.lanes.executor import RayExecutor
from orchestrator.spec.settings import ClusterSettings


def test_lanes_are_chosen_only_once_what_idle_workers_held_is_free():
    executor = RayExecutor(ClusterSettings(), in_virtual_time)
    dismissals = iter([True, False])
    executor._workers = SimpleNamespace(is_busy=False, has_room=True, dismiss_idle=lambda: next(dismissals))
    executor._lanes = SimpleNamespace(is_empty=True, choose=lambda queue: 0)
    assert [executor.choose([a_lane_cell()]) for _ in range(2)] == [None, 0]
