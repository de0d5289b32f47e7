"""What the engines of a cell need of a cluster together, and where it fits."""

from types import SimpleNamespace

import pytest

from orchestrator.lanes.placement import (
    ClusterView,
    LaneView,
    NodeCapacity,
    Placement,
    PlacementRequest,
    find_placement,
    free_capacity,
    placement_request,
)
from orchestrator.ray_runtime.cluster import Node


def _cell(*engines: SimpleNamespace, num_gpus: int = 8) -> SimpleNamespace:
    cells = {str(number): SimpleNamespace(engine=engine) for number, engine in enumerate(engines)}
    return SimpleNamespace(engine_cells=cells, hardware=SimpleNamespace(num_gpus=num_gpus))


def _engine(*, uses_gpus: bool = False, exclusive: str | None = None, tensor_parallel_size: int = 1) -> SimpleNamespace:
    return SimpleNamespace(uses_gpus=uses_gpus, exclusive=exclusive, tensor_parallel_size=tensor_parallel_size)


def test_gpus_add_up_over_the_engines_that_use_them():
    two, one, none = (_engine(uses_gpus=True, tensor_parallel_size=2), _engine(uses_gpus=True), _engine())
    assert placement_request(_cell(two, one, none)) == PlacementRequest(num_gpus=3)


def test_an_engine_without_gpus_to_use_takes_the_whole_node():
    assert placement_request(_cell(_engine(), _engine(uses_gpus=True), num_gpus=0)) == PlacementRequest(fills_node=True)


def test_every_server_is_had_alone():
    servers = (_engine(exclusive="http://a"), _engine(exclusive="http://b"), _engine())
    assert placement_request(_cell(*servers)) == PlacementRequest(exclusive=frozenset({"http://a", "http://b"}))


GPU = PlacementRequest(num_gpus=1)


CPU = PlacementRequest()


WHOLE = PlacementRequest(fills_node=True)


SERVER = PlacementRequest(exclusive=frozenset({"http://server"}))


def _lane(name: str, request: PlacementRequest, node: str | None = "n", *, idle: bool = False) -> LaneView:
    return LaneView(lane_id=name, engine_key=name, request=request, node=node, idle=idle)


def _capacity(node: str = "n", gpus: float = 0, cpus: float = 8) -> NodeCapacity:
    return NodeCapacity(node=node, free_gpus=gpus, free_cpus=cpus)


@pytest.mark.parametrize(
    ("needed", "capacities", "lanes", "max_lanes", "expected"),
    [
        (GPU, [_capacity(gpus=1)], [], None, Placement("n", ())),
        (GPU, [_capacity()], [], None, None),
        (GPU, [_capacity()], [_lane("x", GPU, idle=True)], None, Placement("n", ("x",))),
        (GPU, [_capacity()], [_lane("x", GPU)], None, None),
        (GPU, [_capacity(gpus=1, cpus=0.5)], [], None, None),
        (PlacementRequest(num_gpus=2), [_capacity(gpus=1)], [_lane("x", GPU, idle=True)], None, Placement("n", ("x",))),
        (PlacementRequest(num_gpus=2), [_capacity(gpus=1), _capacity("m", gpus=1)], [], None, None),
        (GPU, [_capacity(), _capacity("m", gpus=1)], [_lane("x", GPU, idle=True)], None, Placement("m", ())),
        (CPU, [_capacity(cpus=1)], [], None, Placement("n", ())),
        (CPU, [_capacity(cpus=8)], [_lane("x", CPU)], 1, None),
        (CPU, [_capacity(cpus=8)], [_lane("x", CPU, "m", idle=True)], 1, Placement("n", ("x",))),
        (WHOLE, [_capacity()], [_lane("x", WHOLE)], None, None),
        (WHOLE, [_capacity()], [_lane("x", WHOLE, idle=True)], None, Placement("n", ("x",))),
        (WHOLE, [_capacity(), _capacity("m")], [_lane("x", WHOLE)], None, Placement("m", ())),
        (WHOLE, [_capacity()], [_lane("x", CPU)], None, Placement("n", ())),
        (WHOLE, [_capacity(), _capacity("m")], [_lane("x", WHOLE, None)], None, None),  # it may be on either
        (CPU, [_capacity()], [_lane("x", WHOLE, None)], None, Placement("n", ())),
        (SERVER, [_capacity("m")], [_lane("x", SERVER)], None, None),
        (SERVER, [_capacity("m")], [_lane("x", SERVER, idle=True)], None, Placement("m", ("x",))),
        (
            SERVER,
            [_capacity("m")],
            [_lane("x", PlacementRequest(exclusive=frozenset({"other"})))],
            None,
            Placement("m", ()),
        ),
    ],
)
def test_a_table_of_placements(needed, capacities, lanes, max_lanes, expected):
    assert find_placement(needed, capacities, lanes, max_lanes=max_lanes) == expected


def test_a_node_to_avoid_is_taken_where_no_other_will_do():
    assert find_placement(GPU, [_capacity("n", 1), _capacity("m", 1)], [], max_lanes=None, avoid={"n"}) == Placement(
        "m", ()
    )
    assert find_placement(GPU, [_capacity("n", 1)], [], max_lanes=None, avoid={"n"}) == Placement("n", ())


def test_free_capacity_is_the_smaller_of_rays_count_and_ours():
    lanes = [_lane("placing", GPU), _lane("nowhere", GPU, None)]
    nodes = (Node("n", "host", 8, 4), Node("excluded", "other", 8, 4))

    def free(gpus: float, cpus: float) -> ClusterView:
        return ClusterView(nodes=nodes, free={each.node_id: {"GPU": gpus, "CPU": cpus} for each in nodes})

    # Ray does not count the lane that is being placed yet; then another job holds two GPUs
    assert free_capacity(free(4, 8), lanes, {"excluded"}) == (_capacity(gpus=3, cpus=7),)
    assert free_capacity(free(1, 2), lanes, {"excluded"}) == (_capacity(gpus=1, cpus=2),)


def test_a_node_of_which_ray_knows_no_resources_has_no_capacity():
    assert free_capacity(ClusterView(nodes=(Node("n", "host", 8, 4),), free={}), [], ()) == ()
