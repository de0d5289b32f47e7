"""Turns: whether workers or lanes run the next cell, decided from plain data. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.spec.cell import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersView:
    """The workers at one instant: whether a slot is free, whether a cell runs or waits, whether a worker is idle."""

    has_room: bool
    is_busy: bool
    any_idle: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UseWorker:
    """Run the cell at ``index`` of the queue on a worker."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UseLanes:
    """Let `LanePolicy.decide` choose among the cells at ``indices`` of the queue."""

    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DismissWorkers:
    """Kill the idle workers; lanes start when Ray counts their CPUs as free."""


@dataclass(frozen=True, slots=True)
class CloseIdleLanes:
    """Close the idle lanes; workers start when all lanes are gone."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can start now."""


Turn = UseWorker | UseLanes | DismissWorkers | CloseIdleLanes | Wait


def next_turn(queue: Sequence[Cell], *, any_lane: bool, workers: WorkersView) -> Turn:
    """Return what runs next, workers or lanes: never both, because they use the same CPUs.

    Without a lane, cells in virtual time come first; with one, the others do.
    """
    if not any_lane:
        index = next((index for index, cell in enumerate(queue) if is_virtual(cell)), None)
        if index is not None:
            return UseWorker(index=index) if workers.has_room else Wait()
    indices = tuple(index for index, cell in enumerate(queue) if not is_virtual(cell))
    if not indices:
        return CloseIdleLanes()
    if workers.is_busy:
        return Wait()
    return DismissWorkers() if workers.any_idle else UseLanes(indices=indices)


def is_virtual(cell: Cell) -> bool:
    """Return whether ``cell`` runs in virtual time, and so on a worker."""
    return cell.engine.clock == "virtual"
