"""The order of a matrix: how drift of the machine is kept from looking like an axis, and what that costs."""

import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

from orchestrator.spec.cell import Cell

Order = Literal["shuffled", "counterbalanced", "fewest_starts"]


def ordered(cells: Sequence[Cell], order: Order, *, seed: int = 0) -> tuple[Cell, ...]:
    """The cells in the order they are run; equal arguments give equal orders.

    ``shuffled``: one block per repeat; engine keys shuffled in each block, cells shuffled within a key, so that
    a machine that warms up does not alias with an axis. ``counterbalanced``: the same, but every second block is the
    one before it in reverse, so that what drifts evenly cancels between the two. ``fewest_starts``: every engine key
    once, its cells as given.
    """
    if order == "fewest_starts":
        return tuple(cell for group in _grouped(cells, lambda cell: cell.engine_key) for cell in group)
    draw = random.Random(seed)
    blocks = sorted(_grouped(cells, lambda cell: cell.repeat), key=lambda block: block[0].repeat)
    if order == "counterbalanced":
        return tuple(cell for block in _counterbalanced(blocks, draw) for cell in block)
    return tuple(cell for block in blocks for cell in _shuffled_block(block, draw))


def block_of(cell: Cell, order: Order) -> int:
    """Which block of this order a cell is in: all cells of a block are begun before those of the next."""
    return 0 if order == "fewest_starts" else cell.repeat


def engine_starts(cells: Sequence[Cell]) -> int:
    """How often an engine is started when ``cells`` run in this order, one after the other."""
    changes = sum(before.engine_key != after.engine_key for before, after in pairwise(cells))
    return changes + bool(cells)


def _shuffled_block(block: Sequence[Cell], draw: random.Random) -> Iterable[Cell]:
    groups = _grouped(block, lambda cell: cell.engine_key)
    draw.shuffle(groups)
    for group in groups:
        draw.shuffle(group)
        yield from group


def _counterbalanced(blocks: Sequence[Sequence[Cell]], draw: random.Random) -> Iterator[Sequence[Cell]]:
    """A block of odd repeats follows the one before it in reverse."""
    before: Sequence[Cell] = ()
    for block in blocks:
        follows = bool(before) and block[0].repeat % 2 == 1 and before[0].repeat == block[0].repeat - 1
        before = _reversed(before, block) if follows else list(_shuffled_block(block, draw))
        yield before


def _reversed(first: Sequence[Cell], second: Sequence[Cell]) -> Sequence[Cell]:
    """The second in the reverse order of the first; a configuration that only it has comes last."""
    rank = {cell.configuration: rank for rank, cell in enumerate(first)}
    return sorted(second, key=lambda cell: -rank.get(cell.configuration, -1))


def _grouped(cells: Iterable[Cell], key: Callable[[Cell], Hashable]) -> list[list[Cell]]:
    groups: dict[Hashable, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return list(groups.values())
