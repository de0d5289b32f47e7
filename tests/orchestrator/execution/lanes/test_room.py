"""Where one more lane fits, and which idle lanes go for it."""

import pytest

from orchestrator.lanes.placement import Held, Need, Place, Room, places_of, room_for

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
