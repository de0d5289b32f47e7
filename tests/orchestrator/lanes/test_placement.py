"""What the engines of a cell take of a cluster together."""

from types import SimpleNamespace

import pytest

from orchestrator.lanes.placement import Held, Need, Place, Room, need_of, places_of, room_for


def _cell(*engines: SimpleNamespace, num_gpus: int = 8) -> SimpleNamespace:
    cells = {str(number): SimpleNamespace(engine=engine) for number, engine in enumerate(engines)}
    return SimpleNamespace(engine_cells=cells, hardware=SimpleNamespace(num_gpus=num_gpus))


def _engine(*, uses_gpus: bool = False, exclusive: str | None = None, tensor_parallel_size: int = 1) -> SimpleNamespace:
    return SimpleNamespace(uses_gpus=uses_gpus, exclusive=exclusive, tensor_parallel_size=tensor_parallel_size)


def test_gpus_add_up_over_the_engines_that_use_them():
    two, one, none = (_engine(uses_gpus=True, tensor_parallel_size=2), _engine(uses_gpus=True), _engine())
    assert need_of(_cell(two, one, none)) == Need(num_gpus=3)


def test_an_engine_without_gpus_to_use_takes_the_whole_node():
    assert need_of(_cell(_engine(), _engine(uses_gpus=True), num_gpus=0)) == Need(fills_node=True)


def test_every_server_is_had_alone():
    servers = (_engine(exclusive="http://a"), _engine(exclusive="http://b"), _engine())
    assert need_of(_cell(*servers)) == Need(exclusive=frozenset({"http://a", "http://b"}))


GPU = Need(num_gpus=1)


CPU = Need()


WHOLE = Need(fills_node=True)


SERVER = Need(exclusive=frozenset({"http://server"}))


def _lane(name: str, need: Need, node: str | None = "n", *, idle: bool = False) -> Held:
    return Held(lane_id=name, key=name, need=need, node=node, idle=idle)


def _place(node: str = "n", gpus: float = 0, cpus: float = 8) -> Place:
    return Place(node=node, free_gpus=gpus, free_cpus=cpus)


@pytest.mark.parametrize(
    ("need", "places", "lanes", "most", "expected"),
    [
        (GPU, [_place(gpus=1)], [], None, Room("n", ())),
        (GPU, [_place()], [], None, None),
        (GPU, [_place()], [_lane("x", GPU, idle=True)], None, Room("n", ("x",))),
        (GPU, [_place()], [_lane("x", GPU)], None, None),
        (GPU, [_place(gpus=1, cpus=0.5)], [], None, None),
        (Need(num_gpus=2), [_place(gpus=1)], [_lane("x", GPU, idle=True)], None, Room("n", ("x",))),
        (Need(num_gpus=2), [_place(gpus=1), _place("m", gpus=1)], [], None, None),
        (GPU, [_place(), _place("m", gpus=1)], [_lane("x", GPU, idle=True)], None, Room("m", ())),
        (CPU, [_place(cpus=1)], [], None, Room("n", ())),
        (CPU, [_place(cpus=8)], [_lane("x", CPU)], 1, None),
        (CPU, [_place(cpus=8)], [_lane("x", CPU, "m", idle=True)], 1, Room("n", ("x",))),
        (WHOLE, [_place()], [_lane("x", WHOLE)], None, None),
        (WHOLE, [_place()], [_lane("x", WHOLE, idle=True)], None, Room("n", ("x",))),
        (WHOLE, [_place(), _place("m")], [_lane("x", WHOLE)], None, Room("m", ())),
        (WHOLE, [_place()], [_lane("x", CPU)], None, Room("n", ())),
        (WHOLE, [_place(), _place("m")], [_lane("x", WHOLE, None)], None, None),  # it may be on either
        (CPU, [_place()], [_lane("x", WHOLE, None)], None, Room("n", ())),
        (SERVER, [_place("m")], [_lane("x", SERVER)], None, None),
        (SERVER, [_place("m")], [_lane("x", SERVER, idle=True)], None, Room("m", ("x",))),
        (SERVER, [_place("m")], [_lane("x", Need(exclusive=frozenset({"other"})))], None, Room("m", ())),
    ],
)
def test_a_table_of_rooms(need, places, lanes, most, expected):
    assert room_for(need, places, lanes, most_lanes=most) == expected


def test_a_node_to_avoid_is_taken_where_no_other_will_do():
    assert room_for(GPU, [_place("n", 1), _place("m", 1)], [], most_lanes=None, avoid={"n"}) == Room("m", ())
    assert room_for(GPU, [_place("n", 1)], [], most_lanes=None, avoid={"n"}) == Room("n", ())


def test_what_is_free_is_the_less_of_rays_count_and_ours():
    lanes = [_lane("placing", GPU), _lane("nowhere", GPU, None)]
    totals = {"n": (4.0, 8.0), "died": (4.0, 8.0)}
    assert places_of(totals, {"n": (4.0, 8.0)}, lanes) == (_place(gpus=3.0, cpus=7.0),)  # Ray has not heard of it yet
    assert places_of(totals, {"n": (1.0, 2.0)}, lanes) == (_place(gpus=1.0, cpus=2.0),)  # another job holds two
