"""What MLflow shows of a cell and of a sweep: tags, parameters and notes of runs, and the table of the cells."""

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
NOTE_TAG = "mlflow.note.content"
SKETCH = "timeline.svg"
_MAX_NOTE = 5000
"""Maximum length of a tag in MLflow, in characters."""

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
"""Address of an artifact of a run, relative to a page of MLflow."""

_VIEW_KEY = "mlflow.sharedViewState."
"""Prefix of the experiment's tag that holds a saved view, in the format that MLflow's own *Views* button writes."""

KIND = ("mlflow.experimentKind", "custom_model_development")
"""Tag of the experiment: its page opens on runs and metrics instead of traces of conversations."""

_SORTED_BY = "gpu_energy_j_per_output_token"
_VIEW_METRICS = (
    "gpu_energy_j_per_workflow",
    "median_workflow_ms",
    "gpu_energy_j_per_request",
    "p99_e2el_ms",
    _SORTED_BY,
    "avg_gpu_power_w",
    "output_throughput",
    "cap_bound_ratio",
)
_VIEW_TAGS = ("status", "reasons", "energy", "cap_effect", "simulated")
_NAME_PX, _MARGIN_PX, _CHARACTER_PX = 360, 28, 7


def cell_tags(record: CellRecord) -> dict[str, str]:
    """Return the tags by which people filter cells; those that do not apply are left out."""
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
        **source_tags(),
    }
    return {key: value for key, value in tags.items() if value}


def cell_params(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the configuration by Hydra's dotted keys; keys that are not set are left out."""
    return {key: _text(value) for key, value in config.items() if value is not None}


def sweep_params(manifest: SweepManifest) -> dict[str, str]:
    """Return the parts of a sweep that never change: MLflow does not let a parameter change."""
    return {"sweep": manifest.name, "overrides": " ".join(manifest.overrides) or "none"}


def sweep_tags(manifest: SweepManifest, records: Sequence[CellRecord]) -> dict[str, str]:
    """Return the numbers of cells by state."""
    counts = Counter[str](record.status for record in records)
    return {
        "cells": str(len(manifest.order)),
        **{f"cells_{status}": str(counts[status]) for status in ("ok", "failed", "invalid")},
        **_reasons(records),
        "cells_missing": str(len(manifest.missing({record.cell_id for record in records}))),
        **({"cells_not_needed": str(len(manifest.not_needed))} if manifest.not_needed else {}),
    }


def colour_tag(manifest: SweepManifest, record: CellRecord) -> dict[str, str]:
    """Return MLflow's tag for the colour in its charts: one colour per choice of the first group that varies."""
    key = next((key for key in manifest.swept if is_option_key(key)), None)
    if key is None:
        return {}
    group, _, name = key.partition(".")
    choices = list(dict.fromkeys(manifest.cells[cell_id].get(group, {}).get(name) for cell_id in manifest.order))
    return {
        "mlflow.runColor": PANELS[choices.index(manifest.cells[record.cell_id].get(group, {}).get(name)) % len(PANELS)]
    }


def source_tags() -> dict[str, str]:
    """Return MLflow's tags for the user and the program."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user of a container may have no name
        user = str(os.getuid())
    return {"mlflow.user": user, "mlflow.source.name": "joulegrid"}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _energy(record: CellRecord) -> str:
    if record.status == "failed":
        return ""
    return source_words(record.provenance.get("energy_source"), record.cell.get("collectors", {}).get("power"))


def _reasons(records: Sequence[CellRecord]) -> dict[str, str]:
    """Return the reasons of invalid cells with their numbers."""
    codes = Counter[str](reason.code for record in records for reason in record.reasons)
    return {"reasons": ", ".join(f"{code}: {count}" for code, count in codes.most_common())} if codes else {}


def cell_note(name: str, record: CellRecord, run_id: str, *, drawn: bool) -> str:
    """Return the note of a cell: its verdict, the headline metrics with units, and the timeline if it is ``drawn``."""
    kind = "**SIMULATED**: computed, not measured. " if record.simulated else ""
    window = f" Window: {record.metrics['window_s']:.4g} s." if "window_s" in record.metrics else ""
    parts = [f"{kind}`{name}`: {_verdict(record)}.{window}"]
    headlines = [(key, record.metrics[key]) for key in _HEADLINES if key in record.metrics]
    statements = [f"{metric_name(key)} **{metric_value(key, value)}**" for key, value in headlines]
    if cap_effect(dotted(record.cell), record.metrics) == "inert":
        statements.append("the cap is **inert**: it never lowered the clock")
    statements += _uncertainty(record)
    if record.status != "failed" and not any("gpu_energy" in key for key in record.metrics):
        statements.insert(0, f"energy **{NOT_MEASURED}**")
    parts.append(" · ".join(statements))
    if drawn:
        parts.append(f"![power and output tokens over time]({_IMAGE.format(path=SKETCH, run_id=run_id)})")
    return "\n\n".join(parts)[:_MAX_NOTE]


def _uncertainty(record: CellRecord) -> list[str]:
    """Return the source of a sampled energy, its uncertainty at the window edges and its gap to the integral."""
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
    """Return the note of a sweep: simulated or not, cells and swept keys, question, report, findings, how to resume."""
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
    """Return the note with as many whole findings as its maximum length allows."""
    text = f"{head}\n" if findings else head
    for finding in findings:
        if len(text) + len(finding) + len(tail) + 3 > _MAX_NOTE:
            break
        text += f"\n{finding}"
    return f"{text}\n\n{tail}".strip()[:_MAX_NOTE]


def findings_in(path: Path) -> list[dict[str, Any]]:
    """Return the findings that the report wrote; empty if there is no report."""
    if not path.is_file():
        return []
    findings: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return findings


def saved_view(manifest: SweepManifest, sweep_id_tag: str) -> tuple[str, str] | None:
    """Return key and value of the experiment's tag: the cells only, headline metrics first, least energy on top.

    None if so many keys vary that the tag would be too long.
    """
    columns = [("metrics", key) for key in _VIEW_METRICS]  # the name of a run has its swept values
    columns += [("params", key) for key in manifest.swept] + [("tags", key) for key in _VIEW_TAGS]
    widths_px = {"attributes.`Run Name`": _NAME_PX}
    widths_px |= {f"{kind}.`{key}`": _MARGIN_PX + _CHARACTER_PX * len(key) for kind, key in columns}
    state = {
        "searchFilter": f"tags.`{sweep_id_tag}` = '{manifest.sweep_id}' and tags.`status` LIKE '%'",
        "orderByKey": f"metrics.`{_SORTED_BY}`",
        "orderByAsc": True,
        "selectedColumns": [name for name in widths_px if not name.startswith("attributes.")],
        "columnOrder": list(widths_px),
        "columnWidths": widths_px,
    }
    created_ms = round(manifest.created_unix_s * 1000)
    view = {"name": manifest.sweep_id, "createdAt": created_ms, "updatedAt": created_ms, "state": json.dumps(state)}
    content = json.dumps(view)
    return (_VIEW_KEY + manifest.sweep_id, content) if len(content) <= _MAX_NOTE else None


def runs_address(base: str, experiment_id: str, view: str | None) -> str:
    """Return the address of the experiment's runs at an MLflow server, in a sweep's saved view if one is given."""
    shared = f"&viewStateShareKey={view}" if view is not None else ""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?workflowType=machine_learning{shared}"
