"""What a report is made from: the cells as a frame, the sweep's own words, and a way to the raw series."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from orchestrator.records.record import CellRecord
from orchestrator.report.energy_text import Lifecycle


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepView:
    """A finished or interrupted sweep, read only.

    ``frame`` has one row a cell: ``cell_id, status, simulated, reasons, reason_codes, repeat``, dotted
    configuration and metrics. ``n_missing`` cells of the matrix have no record yet. ``record`` and ``series`` read one
    cell and are asked for the few cells that are drawn. ``objective`` is what goodput was judged by, empty where
    nothing was, ``stopped`` what a stop rule left out; ``engines`` what real engines said of themselves; ``spent`` the
    energies of engine starts and whole cells.
    """

    sweep_id: str
    name: str
    created: str
    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    notes: tuple[str, ...]
    question: str | None = None
    provenance: dict[str, Any]
    n_missing: int
    frame: pd.DataFrame
    record: Callable[[str], CellRecord]
    series: Callable[[str, str], pa.Table]
    objective: str = ""
    engines: str = ""
    stopped: str = ""
    spent: Lifecycle | None = None

    @property
    def simulated(self) -> bool:
        """Whether any cell was computed rather than measured."""
        return self.n_simulated > 0

    @property
    def n_simulated(self) -> int:
        """How many cells were computed rather than measured."""
        return int(self.frame["simulated"].astype(bool).sum())

    @property
    def pooled(self) -> pd.DataFrame:
        """The cells that figures and findings may use: status ok."""
        return self.frame[self.frame["status"] == "ok"]

    @property
    def excluded(self) -> pd.DataFrame:
        """The cells that are named with their reasons and used nowhere."""
        return self.frame[self.frame["status"] != "ok"]
