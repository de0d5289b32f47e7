"""Where cells run: the one seam between the scheduler and a process, a pool or a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.cell import Cell
from orchestrator.errors import JoulegridError
from orchestrator.record import CellResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One try at a cell, ended: exactly one of ``result`` and ``error`` is set.

    ``error`` is a `CellError` where the cell itself is at fault (its text is the user's exception, with the place
    it was raised) and an `InfrastructureError` where what ran it was lost.
    """

    cell: Cell
    host: str
    node: str | None = None
    started_unix_s: float
    ended_unix_s: float
    result: CellResult | None = None
    error: JoulegridError | None = None


class Executor(Protocol):
    """Runs cells; at most ``slots`` at once. Used by one thread."""

    @property
    def name(self) -> str:
        """``inline`` or ``ray``: shown to people and kept in the sweep's provenance."""
        ...

    @property
    def slots(self) -> int:
        """How many cells may be in flight; a lost worker is replaced before this shrinks."""
        ...

    def start(self) -> None:
        """Acquire what is needed (start or join a cluster).

        Raises:
            EnvironmentFailure: the cluster cannot be reached or used.
        """
        ...

    def submit(self, cell: Cell) -> None:
        """Start a cell; never blocks on its end."""
        ...

    def wait(self, timeout_s: float) -> Sequence[Outcome]:
        """Cells that ended, as they end; empty after ``timeout_s`` without one."""
        ...

    def close(self) -> None:
        """Give everything back within seconds, cells in flight included; safe to call twice."""
        ...
