"""Which cell a lane takes next, and which lanes there should be. Pure."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from orchestrator.lanes.placement import Held, Room, sets_gpus
from orchestrator.spec.cell import Cell

FindRoom = Callable[[Cell], Room | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The cell at ``index`` of the queue: for the idle lane ``lane_id``, else for a new one, in ``room`` if known."""

    index: int
    lane_id: str | None = None
    room: Room | None = None


def choose(
    queue: Sequence[Cell], lanes: Sequence[Held], *, block_of: Callable[[Cell], Hashable], find_room: FindRoom
) -> Choice | None:
    """What to start now; None where nothing can be.

    Block by block of the queue: an idle lane takes the next cell of its own engine; else the first engine that no lane
    serves gets a lane; else one more lane helps the engine with the most cells left for each of its lanes, if more than
    one is. Idle lanes of other engines end only where their place is needed.
    """
    for block in _blocks(queue, block_of):
        found = _own(queue, block, lanes) or _unserved(queue, block, lanes, find_room)
        found = found or _helped(queue, block, lanes, find_room)
        if found is not None:
            return found
    return None


def _blocks(queue: Sequence[Cell], block_of: Callable[[Cell], Hashable]) -> Iterable[list[int]]:
    blocks: dict[Hashable, list[int]] = {}
    for index, cell in enumerate(queue):
        blocks.setdefault(block_of(cell), []).append(index)
    return blocks.values()


def _own(queue: Sequence[Cell], block: Sequence[int], lanes: Sequence[Held]) -> Choice | None:
    idle = {kind: lane.lane_id for lane in reversed(lanes) if lane.idle for kind in _takes(lane)}
    for index in block:
        if (kind := _kind(queue[index])) in idle:
            return Choice(index=index, lane_id=idle[kind])
    return None


def _kind(cell: Cell) -> tuple[str, bool]:
    """What a lane must be of for a cell: its engine, and whether its GPUs are to be set."""
    return cell.engine_key, sets_gpus(cell)


def _takes(lane: Held) -> tuple[tuple[str, bool], ...]:
    return ((lane.key, False), (lane.key, True)) if lane.may_set else ((lane.key, False),)


def _unserved(queue: Sequence[Cell], block: Sequence[int], lanes: Sequence[Held], find_room: FindRoom) -> Choice | None:
    seen = {kind for lane in lanes for kind in _takes(lane)}
    for index in block:
        cell = queue[index]
        if _kind(cell) in seen:
            continue
        seen.add(_kind(cell))
        room = find_room(cell)
        if room is not None:
            return Choice(index=index, room=room)
    return None


def _helped(queue: Sequence[Cell], block: Sequence[int], lanes: Sequence[Held], find_room: FindRoom) -> Choice | None:
    n_lanes = Counter(lane.key for lane in lanes)
    n_left = Counter(queue[index].engine_key for index in block)
    shares = {key: n / n_lanes[key] for key, n in n_left.items() if n_lanes[key]}
    for key in sorted(shares, key=lambda key: -shares[key]):
        if shares[key] <= 1:
            return None
        index = next(index for index in block if queue[index].engine_key == key)
        room = find_room(queue[index])
        if room is not None:
            return Choice(index=index, room=room)
    return None
