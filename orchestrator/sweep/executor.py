"""Where cells run: the interface between the scheduler and a process, a pool or a cluster."""

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
    """The end of one attempt at a cell: exactly one of ``result`` and ``error`` is set.

    ``error`` is a ``CellError`` if the cell failed (its text is the user's exception and where it was raised), and an
    ``InfrastructureError`` if a worker, node or link was lost. ``lane`` is the lane that ran the cell, if any.
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
    """Runs cells that it chooses from a queue. Used by one thread."""

    def start(self) -> None:
        """Acquire resources: start or join a cluster.

        Raises:
            EnvironmentFailure: the cluster cannot be reached or used.
        """
        ...

    def choose(self, queue: Sequence[Cell]) -> int | None:
        """Return the index of the cell to start now; None if no cell can start. ``submit`` must follow."""
        ...

    def submit(self, cell: Cell) -> None:
        """Start the cell that was chosen last, without waiting for its end."""
        ...

    def wait(self, timeout_s: float) -> Sequence[Outcome]:
        """Return the cells that ended; empty if none ended within ``timeout_s``."""
        ...

    def lanes(self) -> Sequence[LaneRecord]:
        """Return records of lanes whose engine started or ended since the last call; also valid after ``close``."""
        ...

    def close(self) -> None:
        """Release all resources within seconds and end the cells in flight. A second call does nothing."""
        ...


class InlineExecutor:
    """Runs each submitted cell to its end inside ``wait``; an interrupt therefore takes effect between cells."""

    def __init__(self, function: Callable[[Cell], CellResult]) -> None:
        """Run ``function`` for every cell."""
        self._function = function
        self._submitted: deque[Cell] = deque()

    def start(self) -> None:
        """Do nothing: this process is the only resource."""

    def choose(self, queue: Sequence[Cell]) -> int | None:
        """Return the first cell unless a submitted cell still has to run."""
        return 0 if queue and not self._submitted else None

    def submit(self, cell: Cell) -> None:
        """Hold the cell for the next ``wait``."""
        self._submitted.append(cell)

    def wait(self, timeout_s: float) -> Sequence[Outcome]:
        """Run one submitted cell to its end, regardless of the timeout."""
        del timeout_s
        if not self._submitted:
            return ()
        cell = self._submitted.popleft()
        started_unix_s = unix_now_s()
        try:
            result, error = self._function(cell), None
        except (Exception, SystemExit) as raised:  # a supervisor: no exception of a cell, nor exit(), ends the sweep
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
        """Return nothing: every cell has its own engine."""
        return ()

    def close(self) -> None:
        """Drop submitted cells that have not run."""
        self._submitted.clear()
