"""What the policy decides from plain data: no Ray, no clock, no lanes."""

from dataclasses import replace

import pytest
from lane_fakes.cells import a_lane_cell
from sample_sweeps import a_cell

from orchestrator.errors import CellError, EnvironmentFailure, InfeasibleCell, InfrastructureError, LimitsRefused
from orchestrator.lanes.placement import ClusterView, LaneView, PlacementRequest
from orchestrator.lanes.policy import (
    AssignCell,
    LanePolicy,
    PoolView,
    ReadCluster,
    RefuseCell,
    StartLane,
    excluded_nodes,
    quarantine_after,
    quarantine_warnings,
)
from orchestrator.lanes.quarantine import EngineStarted, LimitsNotSet, NotReleased, Quarantine, StartFailed
from orchestrator.lanes.turns import Wait
from orchestrator.ray_runtime.cluster import Node
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings

GPU = PlacementRequest(num_gpus=1)
G, H = Node("g", "gpu-1", 8, 1), Node("h", "gpu-2", 8, 1)
CPU_NODE = Node("c", "cpu-1", 8, 0)
LOST = InfrastructureError("it hung")
REFUSED = LimitsRefused("power limit may not be set")


def _policy(num_workers: int | None = None) -> LanePolicy:
    return LanePolicy(ClusterSettings(address="auto", num_workers=num_workers), lambda cell: cell.repeat)


def _gpu_cell(seqs: int = 1, repeat: int = 0, power_limit_w: float | None = None) -> Cell:
    return a_lane_cell(seqs=seqs, kind="gpu_engine", repeat=repeat, power_limit_w=power_limit_w)


def _lane(cell: Cell, node: str | None = "g", *, idle: bool = True) -> LaneView:
    return LaneView(lane_id=f"lane-{node}", engine_key=cell.engine_key, request=GPU, node=node, idle=idle)


def _view(*lanes: LaneView, nodes: tuple[Node, ...] | None = (G,), quarantine: Quarantine | None = None) -> PoolView:
    """All resources that no lane holds are free; ``nodes`` None is a cluster that has not been read."""
    cluster = None
    if nodes is not None:
        free = {node.node_id: {"CPU": node.num_cpus, "GPU": node.num_gpus} for node in nodes}
        cluster = ClusterView(nodes=nodes, free=free)
    return PoolView(lanes=lanes, quarantine=quarantine or Quarantine(max_attempts=3), cluster=cluster)


def test_an_idle_lane_gets_a_cell_of_its_engine_without_reading_the_cluster():
    first, second = _gpu_cell(1), _gpu_cell(2)
    assert _policy().decide([first, second], _view(_lane(second), nodes=None)) == AssignCell(index=1, lane_id="lane-g")


def test_a_new_lane_needs_the_cluster_and_goes_where_it_fits():
    cell = _gpu_cell()
    assert _policy().decide([cell], _view(nodes=None)) == ReadCluster()
    assert _policy().decide([cell], _view(nodes=(CPU_NODE, G))) == StartLane(index=0, request=GPU, node="g", close=())


def test_an_idle_lane_of_another_engine_is_closed_only_if_its_place_is_needed():
    other = _lane(_gpu_cell(2))
    close = StartLane(index=0, request=GPU, node="g", close=("lane-g",))
    assert _policy().decide([_gpu_cell()], _view(other)) == close
    assert _policy().decide([_gpu_cell()], _view(other, nodes=(G, H))) == replace(close, node="h", close=())


def test_it_waits_for_a_busy_lane_whose_place_it_needs():
    assert _policy().decide([_gpu_cell()], _view(_lane(_gpu_cell(2), idle=False))) == Wait()
    assert _policy().decide([], _view(_lane(_gpu_cell(2)))) == Wait()


def test_a_cell_without_a_fitting_node_is_left_to_ray_and_its_autoscaler():
    decision = _policy().decide([_gpu_cell()], _view(_lane(a_cell(), "c"), nodes=(CPU_NODE,)))
    assert decision == StartLane(index=0, request=GPU, node=None, close=("lane-c",))


def test_a_cell_that_no_node_of_a_local_ray_can_run_is_refused():
    view = replace(_view(nodes=None), fixed_nodes=(CPU_NODE,))
    decision = _policy().decide([a_lane_cell(), _gpu_cell()], view)
    assert isinstance(decision, RefuseCell)
    assert (decision.index, type(decision.error)) == (1, InfeasibleCell)


def test_an_engine_that_was_given_up_is_refused_before_anything_starts():
    bad = _gpu_cell(2)
    quarantine = Quarantine(max_attempts=3, engine_errors={bad.engine_key: "unknown argument"})
    decision = _policy().decide([_gpu_cell(1), bad], _view(quarantine=quarantine))
    assert isinstance(decision, RefuseCell)
    assert (decision.index, type(decision.error), str(decision.error)) == (1, CellError, "unknown argument")


def test_without_a_node_the_sweep_ends():
    with pytest.raises(EnvironmentFailure, match="no node of the Ray cluster at auto is alive any more"):
        _policy().decide([_gpu_cell()], _view(nodes=()))


def test_with_all_fitting_nodes_excluded_the_sweep_ends_with_their_reasons():
    quarantine = Quarantine(max_attempts=3, unusable={"g": "memory was not released"})
    with pytest.raises(EnvironmentFailure, match="memory was not released"):
        _policy().decide([_gpu_cell()], _view(nodes=(G, CPU_NODE), quarantine=quarantine))


def test_a_node_that_refuses_limits_runs_only_cells_without_them():
    quarantine = Quarantine(max_attempts=3, limits_refused={"g": str(REFUSED)})
    plain, capped = _gpu_cell(), _gpu_cell(power_limit_w=300)
    view = _view(_lane(plain), nodes=(G, H), quarantine=quarantine)
    assert _policy().decide([capped, plain], view) == AssignCell(index=1, lane_id="lane-g")
    assert _policy().decide([capped], view) == StartLane(index=0, request=GPU, node="h", close=())
    assert excluded_nodes(quarantine, (G, H), setting_gpus=True) == {"g": str(REFUSED)}
    assert excluded_nodes(quarantine, (G, H), setting_gpus=False) == {}


def _failed(error: Exception = LOST, **changes) -> StartFailed:
    plain = {"engine_key": "k", "node": "g", "error": error, "was_placed": True, "found_no_place": False}
    return StartFailed(**{**plain, **changes})


def test_a_node_on_which_the_engine_failed_is_taken_last():
    cell = _gpu_cell()
    quarantine = Quarantine(max_attempts=3).after(_failed(engine_key=cell.engine_key))
    assert _policy().decide([cell], _view(nodes=(G, H), quarantine=quarantine)).node == "h"
    assert _policy().decide([cell], _view(nodes=(G,), quarantine=quarantine)).node == "g"


@pytest.mark.parametrize(
    ("event", "warning"),
    [
        (NotReleased(node="g", error=InfrastructureError("memory")), "node g gets no lane any more: memory"),
        (_failed(EnvironmentFailure("old version")), "node g gets no lane any more: old version"),
        (_failed(REFUSED), f"node g gets no cell with a limit or clock any more: {REFUSED}"),
        (LimitsNotSet(node="g", error=REFUSED), f"node g gets no cell with a limit or clock any more: {REFUSED}"),
        (_failed(), None),
        (EngineStarted(engine_key="k", node="g"), None),
    ],
)
def test_which_events_exclude_a_node(event, warning):
    quarantine = quarantine_after(Quarantine(max_attempts=3), event, any_placed=True)
    assert quarantine_warnings(quarantine, (G, H)) == (() if warning is None else (warning,))


@pytest.mark.parametrize("event", [_failed(EnvironmentFailure("old version")), _failed(was_placed=False)])
def test_a_first_lane_that_cannot_be_placed_ends_the_sweep(event):
    with pytest.raises(EnvironmentFailure, match=str(event.error)):
        quarantine_after(Quarantine(max_attempts=3), event, any_placed=False)
    quarantine_after(Quarantine(max_attempts=3), event, any_placed=True)


def _starts(text: str, n_lanes: int) -> int:
    """Return the engine starts if each of ``n_lanes`` lanes runs one cell per round; ``a0``: engine a, block 0."""
    policy, node = _policy(num_workers=n_lanes), Node("n", "host", 8, 0)
    queue = [a_cell(max_num_seqs="ab".index(each[0]) + 1, repeat=int(each[1])) for each in text.split()]
    lanes: dict[str, LaneView] = {}
    n_starts = 0
    while queue:
        lanes = {name: replace(lane, idle=True) for name, lane in lanes.items()}
        while not isinstance(decision := policy.decide(queue, _view(*lanes.values(), nodes=(node,))), Wait):
            cell = queue.pop(decision.index)
            if isinstance(decision, AssignCell):
                lanes[decision.lane_id] = replace(lanes[decision.lane_id], idle=False)
                continue
            for name in decision.close:
                del lanes[name]
            n_starts += 1
            lane = LaneView(
                lane_id=str(n_starts), engine_key=cell.engine_key, request=decision.request, node="n", idle=False
            )
            lanes[lane.lane_id] = lane
    return n_starts


def test_one_lane_starts_each_engine_once_a_block():
    assert _starts("a0 a0 b0 b0 " + "b0 a0 " * 4, 1) == 2
    assert _starts("a0 b0 b1 a1", 1) == 3


def test_two_lanes_for_two_engines_start_each_once_whatever_the_blocks():
    assert _starts("a0 a0 b0 b0 b1 b1 a1 a1", 2) == 2
