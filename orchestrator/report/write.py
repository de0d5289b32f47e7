"""The report of a sweep on disk: read once, written whole beside the results."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from orchestrator.analysis.results import results_table
from orchestrator.records.record import CellRecord
from orchestrator.report.energy_text import lifecycle
from orchestrator.report.page import build_report
from orchestrator.report.view import SweepView
from orchestrator.spec.settings import Slo, StopRule
from orchestrator.store.files import replacing, sync_folder, usable
from orchestrator.store.manifest import SweepManifest
from orchestrator.store.sweep import SweepStore

_NOT_OF_THE_ENGINE = ("joulegrid", "engine", "max_model_len", "slo", "tariff", "energy_source", "gpus")
"""Keys of a record's provenance that are the cell's or the sweep's own."""


def write_report(store: SweepStore) -> Path:
    """Write ``report.html``, ``findings.json`` and ``figures/*.png`` of a sweep, each whole, the page last.

    Returns:
        The path of the page.

    Raises:
        EnvironmentFailure: the folder cannot be written or the disk is full.
    """
    report = build_report(view_of(store))
    paths = store.paths
    with usable(paths.root):
        paths.figures.mkdir(exist_ok=True)
        for name, content in report.pngs.items():
            with replacing(paths.figures / name) as file:
                file.write(content)
        for stale in {path.name for path in paths.figures.glob("*.png")} - report.pngs.keys():
            (paths.figures / stale).unlink(missing_ok=True)
        sync_folder(paths.figures)
        with replacing(paths.findings) as file:
            file.write(json.dumps([asdict(finding) for finding in report.findings], indent=1).encode())
        with replacing(paths.report) as file:
            file.write(report.html.encode())
        sync_folder(paths.root)
    return paths.report


def view_of(store: SweepStore) -> SweepView:
    """What the report needs of a sweep; every record is read once, series only when they are drawn."""
    manifest = store.manifest
    records = {record.cell_id: record for record in store.records()}
    frame = results_table(records.values()).to_pandas()
    frame["reason_codes"] = frame["reasons"]
    frame["reasons"] = [_why(record) for record in records.values()]

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
    """What the stop rule of the last start left out."""
    if not manifest.not_needed:
        return ""
    rule = StopRule.model_validate(manifest.starts[-1].settings.get("stop_when", {}))
    return (
        f"{len(manifest.not_needed)} more were not needed: the half-width of {rule.metric} was at most "
        f"{rule.half_width_ratio:g} of its mean (so ended, 95 % intervals hold the mean a little less often)"
    )


def _objective(records: Iterable[CellRecord]) -> str:
    """What the cells were judged by; all of it where resumes named different objectives."""
    found = (record.provenance.get("slo") for record in records)
    return "; ".join(dict.fromkeys(str(Slo.model_validate(slo)) for slo in found if slo is not None))


def _engines(records: Iterable[CellRecord]) -> str:
    """What real engines said of themselves when they were started, each once: versions, device, weights."""
    told = (
        ", ".join(f"{key} {value}" for key, value in record.provenance.items() if key not in _NOT_OF_THE_ENGINE)
        for record in records
        if not record.simulated
    )
    return "; ".join(filter(None, dict.fromkeys(told)))


def _why(record: CellRecord) -> str:
    """The reasons of an invalid cell, or what ended the last attempt of a failed one."""
    reasons: Sequence[str] = [f"{reason.code}: {reason.detail}" for reason in record.reasons]
    if not reasons and record.status == "failed" and record.attempts:
        reasons = [record.attempts[-1].error or "no error recorded"]
    return "; ".join(reasons)
