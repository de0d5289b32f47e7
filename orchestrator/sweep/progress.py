"""Progress of a sweep on standard error: a bar on a terminal, a line every few seconds elsewhere."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from orchestrator.records.record import Status
from orchestrator.records.text_format import duration, energy

_LINE_EVERY_S = 5.0
_ENERGY_KEY = "total_gpu_energy_j"


class SweepProgress:
    """A context manager that counts the cells that end and shows how far the sweep is."""

    def __init__(
        self,
        total: int,
        *,
        simulated: bool = False,
        console: Console | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Expect ``total`` cells; with ``simulated``, energies are marked as simulated.

        ``console`` and ``now_s`` default to stderr and the monotonic clock.
        """
        self._simulated = simulated
        self._total = total
        self._console = console or Console(stderr=True)
        self._now_s = now_s
        self._started_s = self._line_s = now_s()
        self._counts: Counter[Status] = Counter()
        self._n_not_needed = 0
        self._energy_j: float | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        """Show the bar if the console is a terminal."""
        self._started_s = self._line_s = self._now_s()
        if self._console.is_terminal:
            text = TextColumn("{task.description}", markup=False)
            self._bar = Progress(BarColumn(bar_width=24), text, console=self._console, transient=True)
            self._task = self._bar.add_task(self.text(), total=self._total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar and print one last line."""
        if self._bar is not None:
            self._bar.stop()
        if self._total:
            self.print_line(self.text())

    def cell_ended(self, status: Status, metrics: Mapping[str, float]) -> None:
        """Count a cell that ended, and its energy if it was measured."""
        self._counts[status] += 1
        if _ENERGY_KEY in metrics:
            self._energy_j = (self._energy_j or 0.0) + metrics[_ENERGY_KEY]
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._counts.total(), description=self.text())
        elif self._counts.total() < self._total and self._now_s() - self._line_s >= _LINE_EVERY_S:
            self._line_s = self._now_s()
            self.print_line(self.text())

    def cell_not_needed(self) -> None:
        """Count a cell that will not run because the stop rule is met."""
        self._total -= 1
        self._n_not_needed += 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=self._total, description=self.text())

    def print_line(self, line: str) -> None:
        """Print a line, above the bar if it is shown."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def text(self) -> str:
        """Return the progress as one line."""
        n_ended, counts = self._counts.total(), self._counts
        parts = [f"{n_ended}/{self._total} cells"]
        parts += [f"{counts[status]} {status}" for status in ("failed", "invalid") if counts[status]]
        if self._n_not_needed:
            parts.append(f"{self._n_not_needed} not needed")
        elapsed_s = self._now_s() - self._started_s
        if n_ended and elapsed_s > 0:
            parts.append(f"{n_ended / elapsed_s:.3g} cells/s")
            if n_ended < self._total:
                parts.append(f"{duration((self._total - n_ended) * elapsed_s / n_ended)} left")
        if self._energy_j is not None:
            parts.append(energy(self._energy_j) + (" simulated" if self._simulated else ""))
        return ", ".join(parts)
