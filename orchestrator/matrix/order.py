"""The order of a matrix: how drift of the machine is kept from looking like an axis, and what that costs."""

import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise
from typing import Literal

from orchestrator.cell import Cell

Order = Literal["shuffled", "fewest_starts"]


def ordered(cells: Sequence[Cell], order: Order, *, seed: int = 0) -> tuple[Cell, ...]:
    """The cells in the order they are run; equal arguments give equal orders.

    ``shuffled``: one block per repeat; engine keys shuffled in each block, cells shuffled within a key, so that
    a machine that warms up does not alias with an axis. ``fewest_starts``: every engine key once, its cells as given.
    """
    if order == "fewest_starts":
        return tuple(cell for group in _grouped(cells, lambda cell: cell.engine_key) for cell in group)
    draw = random.Random(seed)
    blocks = sorted(_grouped(cells, lambda cell: cell.repeat), key=lambda block: block[0].repeat)
    return tuple(cell for block in blocks for cell in _shuffled_block(block, draw))


def block_of(cell: Cell, order: Order) -> int:
    """Which block of this order a cell is in: all cells of a block are begun before those of the next."""
    return cell.repeat if order == "shuffled" else 0


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


def _grouped(cells: Iterable[Cell], key: Callable[[Cell], Hashable]) -> list[list[Cell]]:
    groups: dict[Hashable, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return list(groups.values())
