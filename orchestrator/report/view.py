"""The input of a report: the cells of a sweep as a frame, what its manifest says, and access to the raw series."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from orchestrator.analysis.results import results_table
from orchestrator.records.record import CellRecord
from orchestrator.report.energy_text import Lifecycle, lifecycle
from orchestrator.spec.settings import Slo, StopRule
from orchestrator.store.manifest import SweepManifest
from orchestrator.store.sweep import SweepStore

_NOT_OF_THE_ENGINE = ("joulegrid", "engine", "max_model_len", "slo", "tariff", "energy_source", "gpus")
"""Keys of a record's provenance that describe the cell or the sweep, not the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepView:
    """A finished or interrupted sweep, read only.

    Attributes:
        frame: One row per cell: ``cell_id, status, simulated, reasons, reason_codes, repeat``, dotted configuration and
            metrics.
        n_missing: Number of cells of the matrix without a record.
        record: Return the record of a cell by its id.
        series: Return one series of a cell; called only for the cells that are drawn.
        objective: The limits that goodput was computed with; empty if there are none.
        engines: Versions, devices and weights that real engines reported.
        stopped: What the stop rule left out.
        spent: Energies of engine starts and of whole cells.
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
        """Return whether any cell is simulated."""
        return self.n_simulated > 0

    @property
    def n_simulated(self) -> int:
        """Return the number of simulated cells."""
        return int(self.frame["simulated"].astype(bool).sum())

    @property
    def pooled(self) -> pd.DataFrame:
        """Return the cells with status ok: those that figures and findings use."""
        return self.frame[self.frame["status"] == "ok"]

    @property
    def excluded(self) -> pd.DataFrame:
        """Return the other cells: the page lists them with their reasons."""
        return self.frame[self.frame["status"] != "ok"]


def view_of(store: SweepStore) -> SweepView:
    """Return the view of a sweep on disk. Every record is read once, a series only when it is drawn."""
    manifest = store.manifest
    records = {record.cell_id: record for record in store.records()}
    frame = results_table(records.values()).to_pandas()
    frame["reason_codes"] = frame["reasons"]
    frame["reasons"] = [_reasons(record) for record in records.values()]

    def series(cell_id: str, name: str) -> pa.Table:
        return store.read_series(records[cell_id], name)

    last = manifest.starts[-1] if manifest.starts else None
    return SweepView(
        sweep_id=manifest.sweep_id,
        name=manifest.name,
        created=f"{datetime.fromtimestamp(manifest.created_unix_s, UTC):%Y-%m-%d %H:%M} UTC",
        overrides=manifest.overrides,
        swept=manifest.swept,
        notes=(*manifest.notes, *manifest.warnings),
        question=manifest.question,
        provenance=last.provenance if last is not None else {},
        n_missing=len(manifest.missing(records)),
        frame=frame,
        record=records.__getitem__,
        series=series,
        objective=_objective(records.values()),
        engines=_engines(records.values()),
        stopped=_stopped(manifest),
        spent=lifecycle(store.lanes(), records.values()),
    )


def _stopped(manifest: SweepManifest) -> str:
    """Return a sentence about the cells that the stop rule of the last start left out."""
    if not manifest.not_needed:
        return ""
    rule = StopRule.model_validate(manifest.starts[-1].settings.get("stop_when", {}))
    return (
        f"{len(manifest.not_needed)} more were not needed: the half-width of {rule.metric} was at most "
        f"{rule.half_width_ratio:g} of its mean (so ended, 95 % intervals hold the mean a little less often)"
    )


def _objective(records: Iterable[CellRecord]) -> str:
    """Return the objectives of the cells; several if resumes named different ones."""
    slos = (record.provenance.get("slo") for record in records)
    return "; ".join(dict.fromkeys(str(Slo.model_validate(slo)) for slo in slos if slo is not None))


def _engines(records: Iterable[CellRecord]) -> str:
    """Return what real engines reported at their start, each once: versions, device, weights."""
    texts = (
        ", ".join(f"{key} {value}" for key, value in record.provenance.items() if key not in _NOT_OF_THE_ENGINE)
        for record in records
        if not record.simulated
    )
    return "; ".join(filter(None, dict.fromkeys(texts)))


def _reasons(record: CellRecord) -> str:
    """Return the reasons of an invalid cell, or the error of the last attempt of a failed one."""
    reasons: Sequence[str] = [f"{reason.code}: {reason.detail}" for reason in record.reasons]
    if not reasons and record.status == "failed" and record.attempts:
        reasons = [record.attempts[-1].error or "no error recorded"]
    return "; ".join(reasons)
