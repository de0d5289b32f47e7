"""What MLflow shows of a cell and of a sweep: tags and parameters, as plain text."""

import getpass
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.records.metrics import cap_effect
from orchestrator.records.record import CellRecord
from orchestrator.records.text_format import (
    NOT_MEASURED,
    TOTAL_ENERGY,
    metric_name,
    metric_value,
    percent,
    share,
    source_words,
)
from orchestrator.report.plot import PANELS
from orchestrator.spec.names import dotted, is_option_key
from orchestrator.store.manifest import SweepManifest

_MAX_ERROR = 500
TAG = "mlflow.note.content"
SKETCH = "timeline.svg"
_MAX_NOTE = 5000
_HEADLINES = (
    "gpu_energy_j_per_workflow",
    "median_workflow_ms",
    "gpu_energy_j_per_output_token",
    "p99_ttft_ms",
    "avg_gpu_power_w",
    "output_throughput",
    "cap_bound_ratio",
)
_IMAGE = "get-artifact?path={path}&run_uuid={run_id}"
"""Where a page of MLflow finds an artifact of a run, from the page's own address."""


def cell_tags(record: CellRecord) -> dict[str, str]:
    """What people filter cells by; what does not apply is left out."""
    last = record.attempts[-1] if record.attempts else None
    tags = {
        "status": record.status,
        "simulated": _text(record.simulated),
        "reasons": ", ".join(reason.code for reason in record.reasons),
        "energy": _energy(record),
        "cap_effect": cap_effect(dotted(record.cell), record.metrics) or "",
        "attempts": str(len(record.attempts)),
        "engine_key": record.engine_key,
        "host": last.host if last is not None else "",
        "error": (last.error or "")[:_MAX_ERROR] if last is not None else "",
        **by_whom(),
    }
    return {key: value for key, value in tags.items() if value}


def cell_params(config: Mapping[str, Any]) -> dict[str, str]:
    """The configuration under Hydra's dotted keys; what is not set is left out."""
    return {key: _text(value) for key, value in config.items() if value is not None}


def sweep_params(manifest: SweepManifest) -> dict[str, str]:
    """What never changes of a sweep, as MLflow lets no parameter change."""
    return {"sweep": manifest.name, "overrides": " ".join(manifest.overrides) or "none"}


def sweep_tags(manifest: SweepManifest, records: Sequence[CellRecord]) -> dict[str, str]:
    """How far the sweep is."""
    counts = Counter[str](record.status for record in records)
    return {
        "cells": str(len(manifest.order)),
        **{f"cells_{status}": str(counts[status]) for status in ("ok", "failed", "invalid")},
        **_reasons(records),
        "cells_missing": str(len(manifest.missing({record.cell_id for record in records}))),
        **({"cells_not_needed": str(len(manifest.not_needed))} if manifest.not_needed else {}),
    }


def colour_tag(manifest: SweepManifest, record: CellRecord) -> dict[str, str]:
    """MLflow's own tag for the colour in its charts: one for each choice of the first group that varies."""
    key = next((key for key in manifest.swept if is_option_key(key)), None)
    if key is None:
        return {}
    group, _, name = key.partition(".")
    choices = list(dict.fromkeys(manifest.cells[cell_id].get(group, {}).get(name) for cell_id in manifest.order))
    return {
        "mlflow.runColor": PANELS[choices.index(manifest.cells[record.cell_id].get(group, {}).get(name)) % len(PANELS)]
    }


def by_whom() -> dict[str, str]:
    """MLflow's own tags for the user and the program."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return {"mlflow.user": user, "mlflow.source.name": "joulegrid"}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _energy(record: CellRecord) -> str:
    if record.status == "failed":
        return ""
    return source_words(record.provenance.get("energy_source"), record.cell.get("collectors", {}).get("power"))


def _reasons(records: Sequence[CellRecord]) -> dict[str, str]:
    """Why cells are invalid, with how many of them are."""
    codes = Counter[str](reason.code for record in records for reason in record.reasons)
    return {"reasons": ", ".join(f"{code}: {count}" for code, count in codes.most_common())} if codes else {}


def cell_note(name: str, record: CellRecord, run_id: str, *, drawn: bool) -> str:
    """The verdict, the headline metrics with their units, the timeline where there is one."""
    kind = "**SIMULATED**: computed, not measured. " if record.simulated else ""
    window = f" Window: {record.metrics['window_s']:.4g} s." if "window_s" in record.metrics else ""
    parts = [f"{kind}`{name}`: {_verdict(record)}.{window}"]
    found = [(key, record.metrics[key]) for key in _HEADLINES if key in record.metrics]
    told = [f"{metric_name(key)} **{metric_value(key, value)}**" for key, value in found]
    if cap_effect(dotted(record.cell), record.metrics) == "inert":
        told.append("the cap is **inert**: it never held the clock down")
    told += _certainty(record)
    if record.status != "failed" and not any("gpu_energy" in key for key in record.metrics):
        told.insert(0, f"energy **{NOT_MEASURED}**")
    parts.append(" · ".join(told))
    if drawn:
        parts.append(f"![power and output tokens over time]({_IMAGE.format(path=SKETCH, run_id=run_id)})")
    return "\n\n".join(parts)[:_MAX_NOTE]


def _certainty(record: CellRecord) -> list[str]:
    """Where a sampled energy is from, and how far its edges and its check are off."""
    metrics = record.metrics
    if metrics.get("energy_uncertainty_j") is None or not metrics.get(TOTAL_ENERGY):
        return []
    source = source_words(record.provenance.get("energy_source"), record.cell.get("collectors", {}).get("power"))
    gap = f", integral {percent(1 + metrics['energy_gap_ratio'], 1)} off" if "energy_gap_ratio" in metrics else ""
    return [f"energy {source}, edges ± {share(metrics['energy_uncertainty_j'] / metrics[TOTAL_ENERGY])}{gap}"]


def _verdict(record: CellRecord) -> str:
    if record.status == "ok":
        return "ok"
    if record.status == "invalid":
        reasons = "; ".join(f"{reason.code} ({reason.detail})" for reason in record.reasons)
        return f"invalid, not to be pooled: {reasons}"
    return f"failed: {record.attempts[-1].error if record.attempts else 'no attempt'}"


def sweep_note(
    manifest: SweepManifest, records: Sequence[CellRecord], findings: Sequence[dict[str, Any]] = (), run_id: str = ""
) -> str:
    """Simulated or not, how many cells over which keys, the question, findings, the report, how to go on."""
    simulated = {record.simulated for record in records}
    kind = ("**Simulated.** " if len(simulated) == 1 else "**Partly simulated.** ") if True in simulated else ""
    swept = ", ".join(f"`{key}`" for key in manifest.swept) or "nothing"
    parts = [f"{kind}Joulegrid sweep `{manifest.sweep_id}`: {len(manifest.order)} cells over {swept}."]
    if manifest.question:
        parts.append(manifest.question)
    if findings:
        report = _IMAGE.format(path="report.html", run_id=run_id)
        parts.append(f"Report, one page for a browser: [report.html]({report}), also under *Artifacts*.")
    if manifest.not_needed:
        parts.append(f"{len(manifest.not_needed)} of them were not needed: the stop rule was met before.")
    left = len(manifest.missing({record.cell_id for record in records}))
    if left:
        parts.append(f"{left} cells are left: `python -m orchestrator resume={manifest.sweep_id}` runs them.")
    listed = [f"- {_panel(finding)}{finding['text']}" for finding in findings]
    return _fitting("\n\n".join(parts), listed, "\n\n".join((*manifest.notes, *manifest.warnings)))


def _panel(finding: dict[str, Any]) -> str:
    return f"**{finding['panel']}**: " if finding["panel"] else ""


def _fitting(head: str, findings: Sequence[str], tail: str) -> str:
    """As many whole findings as the note can hold beside the rest."""
    text = f"{head}\n" if findings else head
    for finding in findings:
        if len(text) + len(finding) + len(tail) + 3 > _MAX_NOTE:
            break
        text += f"\n{finding}"
    return f"{text}\n\n{tail}".strip()[:_MAX_NOTE]


def findings_in(path: Path) -> list[dict[str, Any]]:
    """The findings that the report left beside it; none where there is no report."""
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found
