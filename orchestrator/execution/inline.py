"""Cells in this process, one after the other: no Ray, works with a debugger."""

import socket
from collections import deque
from collections.abc import Callable, Sequence

from orchestrator.errors import as_cell_error
from orchestrator.execution.executor import Outcome
from orchestrator.records.provenance import unix_now_s
from orchestrator.records.record import CellResult, LaneRecord
from orchestrator.spec.cell import Cell


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
