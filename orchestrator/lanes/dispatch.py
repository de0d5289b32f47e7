"""Dispatch: in which order cells of the queue are given to idle lanes or to new ones. Pure."""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.lanes.placement import LaneView, sets_gpus
from orchestrator.spec.cell import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Run the cell at ``index`` of the queue on the idle lane ``lane_id``, or on a new lane if that is None."""

    index: int
    lane_id: str | None = None


def proposals(
    queue: Sequence[Cell],
    lanes: Sequence[LaneView],
    *,
    block_of: Callable[[Cell], Hashable],
    limits_refused: Collection[str] = (),
) -> Iterator[Proposal]:
    """Yield what could start now, best first; the caller takes the first whose new lane can be placed.

    Blocks are served in order; a later one is proposed after all proposals of those before it. Within a block an idle
    lane takes the next cell of its own engine, and nothing else is proposed. Otherwise a new lane is proposed for the
    first cell of each engine that no lane serves, then for each engine with more than one waiting cell per lane, the
    most cells per lane first.

    Args:
        queue: cells that wait.
        lanes: all present lanes.
        block_of: groups cells; a cell of a later block starts only if none of an earlier block can start now.
        limits_refused: nodes that take no cell with a power limit or a clock.
    """
    for block in _blocks(queue, block_of):
        assignment = _assignment(queue, block, lanes, limits_refused)
        if assignment is not None:
            yield assignment
            return
        yield from (Proposal(index=index) for index in _unserved(queue, block, lanes, limits_refused))
        yield from (Proposal(index=index) for index in _overloaded(queue, block, lanes))


def _blocks(queue: Sequence[Cell], block_of: Callable[[Cell], Hashable]) -> Iterable[list[int]]:
    blocks: dict[Hashable, list[int]] = {}
    for index, cell in enumerate(queue):
        blocks.setdefault(block_of(cell), []).append(index)
    return blocks.values()


def _assignment(
    queue: Sequence[Cell], block: Sequence[int], lanes: Sequence[LaneView], limits_refused: Collection[str]
) -> Proposal | None:
    """Return the first cell of the block that an idle lane can run."""
    idle = {kind: lane.lane_id for lane in reversed(lanes) if lane.idle for kind in _served(lane, limits_refused)}
    for index in block:
        if (kind := _kind(queue[index])) in idle:
            return Proposal(index=index, lane_id=idle[kind])
    return None


def _kind(cell: Cell) -> tuple[str, bool]:
    """Return what a lane must offer: the engine of the cell, and whether its GPUs can be set."""
    return cell.engine_key, sets_gpus(cell)


def _served(lane: LaneView, limits_refused: Collection[str]) -> tuple[tuple[str, bool], ...]:
    """Return the kinds of cells that ``lane`` can run."""
    kinds = ((lane.engine_key, False), (lane.engine_key, True))
    return kinds[:1] if lane.node in limits_refused else kinds


def _unserved(
    queue: Sequence[Cell], block: Sequence[int], lanes: Sequence[LaneView], limits_refused: Collection[str]
) -> Iterator[int]:
    """Yield the first cell of each kind that no lane serves."""
    seen = {kind for lane in lanes for kind in _served(lane, limits_refused)}
    for index in block:
        if (kind := _kind(queue[index])) not in seen:
            seen.add(kind)
            yield index


def _overloaded(queue: Sequence[Cell], block: Sequence[int], lanes: Sequence[LaneView]) -> Iterator[int]:
    """Yield the first cell of each engine with more than one waiting cell per lane, the most cells per lane first."""
    n_lanes = Counter(lane.engine_key for lane in lanes)
    n_waiting = Counter(queue[index].engine_key for index in block)
    per_lane = {key: n / n_lanes[key] for key, n in n_waiting.items() if n_lanes[key]}
    for key in sorted(per_lane, key=lambda key: -per_lane[key]):
        if per_lane[key] > 1:
            yield next(index for index in block if queue[index].engine_key == key)
