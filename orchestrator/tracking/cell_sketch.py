"""The timeline of a cell's run, drawn from the series on disk."""

from orchestrator.errors import UserError
from orchestrator.records.record import CellRecord
from orchestrator.report.sketch import sketch
from orchestrator.results import full_config
from orchestrator.store.sweep import SweepStore


def sketch_of(store: SweepStore, record: CellRecord, name: str) -> str | None:
    """An SVG; None where the cell has no power series that can be read."""
    if "power" not in record.series:
        return None
    window = record.window or {}
    bounds = (window["start_s"], window["end_s"]) if {"start_s", "end_s"} <= window.keys() else None
    try:
        return sketch(
            store.read_series(record, "power"),
            store.read_series(record, "iterations") if "iterations" in record.series else None,
            title=f"{'SIMULATED · ' if record.simulated else ''}{name}",
            window_s=bounds,
            cap_w=_cap_w(record),
        )
    except UserError:  # a damaged series: the record still counts
        return None


def _cap_w(record: CellRecord) -> float | None:
    """The limit of all the cell's GPUs together, where one was set."""
    config = full_config(record)
    limit = config.get("hardware.power_limit_w")
    return None if limit is None else limit * config.get("engine.tensor_parallel_size", 1)
