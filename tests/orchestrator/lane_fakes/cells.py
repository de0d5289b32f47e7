"""Cells on the faulty engine, and its child processes."""

from pathlib import Path

import psutil
from sample_sweeps import a_cell

from lane_fakes.engine import CHILD
from orchestrator.records.record import CellResult
from orchestrator.spec.cell import Cell


def a_lane_cell(
    fault: str = "none",
    *,
    seqs: int = 8,
    repeat: int = 0,
    users: int = 2,
    once: bool = True,
    kind: str = "engine",
    stall_timeout_s: float = 1.5,
    power_limit_w: float | None = None,
) -> Cell:
    """Return a cell of ten requests; ``seqs`` distinguishes engines."""
    plain = a_cell(max_num_seqs=seqs, repeat=repeat, users=users, power_limit_w=power_limit_w).canonical()
    return Cell.model_validate(
        {
            **plain,
            "engine": {**plain["engine"], "kind": f"lane_fakes.{kind}", "fault": fault, "once": once},
            "collectors": {"power": "none"},
            "protocol": {"idle_baseline_s": 0, "min_window_s": 0, "stall_timeout_s": stall_timeout_s},
        }
    )


def children_left(scratch: Path) -> list[int]:
    """Return the ids of child processes of engines that still exist."""
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(CHILD) == str(scratch) and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return left


def in_virtual_time(cell: Cell) -> CellResult:
    """Return an empty result: what workers run for cells without a lane."""
    return CellResult(
        status="ok", simulated=True, reasons=(), window={}, phases=(), provenance={}, metrics={}, series={}
    )
