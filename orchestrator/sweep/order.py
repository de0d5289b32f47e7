"""The order in which cells run: it keeps drift of the machine apart from the axes, and decides the engine starts."""

import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

from orchestrator.spec.cell import Cell

Order = Literal["shuffled", "counterbalanced", "fewest_starts"]


def ordered(cells: Sequence[Cell], order: Order, *, seed: int = 0) -> tuple[Cell, ...]:
    """Return the cells in the order to run them; equal arguments give equal orders.

    ``shuffled``: one block per repeat; engine keys are shuffled within a block and cells within a key, so that warm-up
    of the machine is not correlated with an axis. ``counterbalanced``: the same, but every second block reverses the
    block before it, so that linear drift cancels between the two. ``fewest_starts``: every engine key once, its cells
    in the given order.
    """
    if order == "fewest_starts":
        return tuple(cell for group in _grouped(cells, lambda cell: cell.engine_key) for cell in group)
    draw = random.Random(seed)
    blocks = sorted(_grouped(cells, lambda cell: cell.repeat), key=lambda block: block[0].repeat)
    if order == "counterbalanced":
        return tuple(cell for block in _counterbalanced(blocks, draw) for cell in block)
    return tuple(cell for block in blocks for cell in _shuffled_block(block, draw))


def block_of(cell: Cell, order: Order) -> int:
    """Return the block of a cell in this order: all cells of a block start before those of the next block."""
    return 0 if order == "fewest_starts" else cell.repeat


def engine_starts(cells: Sequence[Cell]) -> int:
    """Return the number of engine starts if ``cells`` run in this order, one at a time."""
    changes = sum(before.engine_key != after.engine_key for before, after in pairwise(cells))
    return changes + bool(cells)


def _shuffled_block(block: Sequence[Cell], draw: random.Random) -> Iterable[Cell]:
    groups = _grouped(block, lambda cell: cell.engine_key)
    draw.shuffle(groups)
    for group in groups:
        draw.shuffle(group)
        yield from group


def _counterbalanced(blocks: Sequence[Sequence[Cell]], draw: random.Random) -> Iterator[Sequence[Cell]]:
    """Yield the blocks; a block of an odd repeat reverses the block of the repeat before it."""
    before: Sequence[Cell] = ()
    for block in blocks:
        follows = bool(before) and block[0].repeat % 2 == 1 and before[0].repeat == block[0].repeat - 1
        before = _reversed(before, block) if follows else list(_shuffled_block(block, draw))
        yield before


def _reversed(first: Sequence[Cell], second: Sequence[Cell]) -> Sequence[Cell]:
    """Return ``second`` in the reverse order of ``first``; those that only ``second`` has come last."""
    rank = {cell.configuration: rank for rank, cell in enumerate(first)}
    return sorted(second, key=lambda cell: -rank.get(cell.configuration, -1))


def _grouped(cells: Iterable[Cell], key: Callable[[Cell], Hashable]) -> list[list[Cell]]:
    groups: dict[Hashable, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return list(groups.values())
