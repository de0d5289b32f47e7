"""Where cells run: the one seam between the scheduler and a process, a pool or a cluster."""

import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.errors import JoulegridError, as_cell_error
from orchestrator.records.provenance import unix_now_s
from orchestrator.records.record import CellResult, LaneRecord
from orchestrator.spec.cell import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One try at a cell, ended: exactly one of ``result`` and ``error`` is set.

    ``error`` is a `CellError` where the cell itself is at fault (its text is the user's exception, with the place
    it was raised) and an `InfrastructureError` where what ran it was lost. ``lane`` names the lane it ran on, if any.
    """

    cell: Cell
    host: str
    node: str | None = None
    lane: str | None = None
    started_unix_s: float
    ended_unix_s: float
    result: CellResult | None = None
    error: JoulegridError | None = None


class Executor(Protocol):
    """Runs cells, choosing from those that wait. Used by one thread."""

    @property
    def name(self) -> str:
        """``inline`` or ``ray``: shown to people and kept in the sweep's provenance."""
        ...

    def start(self) -> None:
        """Acquire what is needed (start or join a cluster).

        Raises:
            EnvironmentFailure: the cluster cannot be reached or used.
        """
        ...

    def choose(self, queue: Sequence[Cell]) -> int | None:
        """Index of the cell it would take now; None where it is full. The choice is made good by `submit`."""
        ...

    def submit(self, cell: Cell) -> None:
        """Start the cell chosen last; never blocks on its end."""
        ...

    def wait(self, timeout_s: float) -> Sequence[Outcome]:
        """Cells that ended, as they end; empty after ``timeout_s`` without one."""
        ...

    def lanes(self) -> Sequence[LaneRecord]:
        """Records of the lanes whose engine started or ended since the last call, also after `close`."""
        ...

    def close(self) -> None:
        """Give everything back within seconds, cells in flight included; safe to call twice."""
        ...


class InlineExecutor:
    """Runs a submitted cell inside `wait`, to its end; an interrupt therefore takes effect between cells."""

    name = "inline"

    def __init__(self, function: Callable[[Cell], CellResult]) -> None:
        """Run ``function`` for every cell."""
        self._function = function
        self._submitted: deque[Cell] = deque()

    def start(self) -> None:
        """Nothing is needed."""

    def choose(self, queue: Sequence[Cell]) -> int | None:
        """The first that waits, while none is kept."""
        return 0 if queue and not self._submitted else None

    def submit(self, cell: Cell) -> None:
        """Keep the cell for the next `wait`."""
        self._submitted.append(cell)

    def wait(self, timeout_s: float) -> Sequence[Outcome]:
        """Run one submitted cell, however long it takes."""
        del timeout_s
        if not self._submitted:
            return ()
        cell = self._submitted.popleft()
        started_unix_s = unix_now_s()
        try:
            result, error = self._function(cell), None
        except (Exception, SystemExit) as raised:  # a supervisor: whatever a cell raises, exit() too, ends it alone
            result, error = None, as_cell_error(raised)
        return (
            Outcome(
                cell=cell,
                host=socket.gethostname(),
                started_unix_s=started_unix_s,
                ended_unix_s=unix_now_s(),
                result=result,
                error=error,
            ),
        )

    def lanes(self) -> Sequence[LaneRecord]:
        """There are none: every cell has an engine of its own."""
        return ()

    def close(self) -> None:
        """Forget what was submitted and not run."""
        self._submitted.clear()
