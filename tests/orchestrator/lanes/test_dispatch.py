"""Which cell a lane takes next: a table of queues and lanes."""

import pytest
from sample_sweeps import a_cell

from orchestrator.lanes.dispatch import Proposal, proposals
from orchestrator.lanes.placement import LaneView, PlacementRequest
from orchestrator.spec.cell import Cell

KEYS = {name: a_cell(max_num_seqs=seqs).engine_key for name, seqs in (("a", 1), ("b", 2), ("c", 3))}


def _queue(text: str) -> list[Cell]:
    """``a0 b1``: a cell of engine a in block 0, one of engine b in block 1."""
    return [a_cell(max_num_seqs="abc".index(each[0]) + 1, repeat=int(each[1])) for each in text.split()]


def _lanes(text: str) -> list[LaneView]:
    """``a+ b-``: an idle lane of engine a, a busy one of engine b."""
    return [
        LaneView(
            lane_id=f"{each}{n}",
            engine_key=KEYS[each[0]],
            request=PlacementRequest(),
            node="n",
            idle=each[1] == "+",
        )
        for n, each in enumerate(text.split())
    ]


@pytest.mark.parametrize(
    ("queue", "lanes", "can_place", "expected"),
    [
        ("a0 b0", "", True, Proposal(index=0)),
        ("a0 b0", "", False, None),
        ("a0 b0", "b+", False, Proposal(index=1, lane_id="b+0")),
        ("a0 b0", "b+", True, Proposal(index=1, lane_id="b+0")),
        ("a0 b0", "a- b+", False, Proposal(index=1, lane_id="b+1")),
        ("a0 b1", "b+", True, Proposal(index=0)),  # the first block starts first, even if b must close for it
        ("a0 b1", "a- b+", True, Proposal(index=1, lane_id="b+1")),  # a second lane for one cell is no gain
        ("a0 b0 c0", "a-", True, Proposal(index=1)),
        ("a0 a0 b0 b0 b0", "a- b-", True, Proposal(index=2)),  # b has more cells per lane
        ("a0 a0 a0 b0 b0", "a- a- b-", True, Proposal(index=3)),
        ("a0", "a-", True, None),
        ("a0 a0", "a-", False, None),
        ("a0 a0", "a+ a+", False, Proposal(index=0, lane_id="a+0")),
        ("", "a+", True, None),
    ],
)
def test_a_table_of_proposals(queue: str, lanes: str, can_place: bool, expected: Proposal | None):
    ordered = proposals(_queue(queue), _lanes(lanes), block_of=lambda cell: cell.repeat)
    assert next((each for each in ordered if each.lane_id is not None or can_place), None) == expected
