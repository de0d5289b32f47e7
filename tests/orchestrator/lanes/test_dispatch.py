"""Which cell a lane takes next: a table of queues and lanes."""

from collections.abc import Sequence

import pytest
from sample_sweeps import a_cell

from orchestrator.lanes.dispatch import Choice, choose
from orchestrator.lanes.placement import Held, Need, Room
from orchestrator.spec.cell import Cell

KEYS = {name: a_cell(max_num_seqs=seqs).engine_key for name, seqs in (("a", 1), ("b", 2), ("c", 3))}


ROOM = Room("n", ())


def _queue(text: str) -> list[Cell]:
    """``a0 b1``: a cell of engine a in block 0, one of engine b in block 1."""
    return [a_cell(max_num_seqs="abc".index(each[0]) + 1, repeat=int(each[1])) for each in text.split()]


def _lanes(text: str) -> list[Held]:
    """``a+ b-``: an idle lane of engine a, a busy one of engine b."""
    return [
        Held(lane_id=f"{each}{n}", key=KEYS[each[0]], need=Need(), node="n", idle=each[1] == "+")
        for n, each in enumerate(text.split())
    ]


def _chosen(queue: str, lanes: str, room: Room | None) -> Choice | None:
    return choose(_queue(queue), _lanes(lanes), block_of=lambda cell: cell.repeat, find_room=lambda cell: room)


@pytest.mark.parametrize(
    ("queue", "lanes", "room", "expected"),
    [
        ("a0 b0", "", ROOM, Choice(index=0, room=ROOM)),
        ("a0 b0", "", None, None),
        ("a0 b0", "b+", None, Choice(index=1, lane_id="b+0")),
        ("a0 b0", "b+", ROOM, Choice(index=1, lane_id="b+0")),
        ("a0 b0", "a- b+", None, Choice(index=1, lane_id="b+1")),
        ("a0 b1", "b+", ROOM, Choice(index=0, room=ROOM)),  # the block goes first, and b must go if its place is needed
        ("a0 b1", "a- b+", ROOM, Choice(index=1, lane_id="b+1")),  # one cell is no help: b goes on with the next block
        ("a0 b0 c0", "a-", ROOM, Choice(index=1, room=ROOM)),
        ("a0 a0 b0 b0 b0", "a- b-", ROOM, Choice(index=2, room=ROOM)),  # b has more left per lane
        ("a0 a0 a0 b0 b0", "a- a- b-", ROOM, Choice(index=3, room=ROOM)),
        ("a0", "a-", ROOM, None),
        ("a0 a0", "a-", None, None),
        ("a0 a0", "a+ a+", None, Choice(index=0, lane_id="a+0")),
        ("", "a+", ROOM, None),
    ],
)
def test_a_table_of_choices(queue: str, lanes: str, room: Room | None, expected: Choice | None):
    assert _chosen(queue, lanes, room) == expected


def _starts(queue: Sequence[Cell], n_lanes: int) -> int:
    """Engine starts when each lane runs one cell a turn, and idle lanes make room."""
    left, held, n_starts = list(queue), [], 0
    while left:
        for lane in held:
            lane["idle"] = True
        while left:
            views = [Held(lane_id=str(i), need=Need(), node="n", **lane) for i, lane in enumerate(held)]

            def find_room(cell: Cell, views: list[Held] = views) -> Room | None:
                idle = tuple(view.lane_id for view in views if view.idle)
                return Room("n", ()) if len(views) < n_lanes else Room("n", idle[:1]) if idle else None

            found = choose(left, views, block_of=lambda cell: cell.repeat, find_room=find_room)
            if found is None:
                break
            cell = left.pop(found.index)
            if found.lane_id is not None:
                held[int(found.lane_id)]["idle"] = False
                continue
            for gone in found.room.ends:
                held.pop(int(gone))
            held.append({"key": cell.engine_key, "idle": False})
            n_starts += 1
    return n_starts


def test_one_lane_starts_each_engine_once_a_block():
    assert _starts(_queue("a0 a0 b0 b0 " + "b0 a0 " * 4), 1) == 2
    assert _starts(_queue("a0 b0 b1 a1"), 1) == 3


def test_two_lanes_for_two_engines_start_each_once_whatever_the_blocks():
    assert _starts(_queue("a0 a0 b0 b0 b1 b1 a1 a1"), 2) == 2
