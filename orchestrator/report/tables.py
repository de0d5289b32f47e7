"""The tables of the report as plain rows: facts of the head, excluded cells, members of fronts, all cells."""

import json
import math
import shlex
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from orchestrator.analysis.axes import Axes
from orchestrator.records.metrics import BLOCK_HALF_WIDTH, BY_KEY
from orchestrator.records.text_format import MISSING, NOT_MEASURED, metric_name, number, quantity
from orchestrator.report.detail import Detail
from orchestrator.report.energy_text import energy_fact, lifecycle_fact
from orchestrator.report.panels import FrontPanel
from orchestrator.report.view import SweepView

_ENERGY_METRICS = ("gpu_energy_j_per_workflow", "gpu_energy_j_per_request", "gpu_energy_j_per_output_token")
_CELL_METRICS = (
    *_ENERGY_METRICS,
    BLOCK_HALF_WIDTH + "gpu_energy_j_per_request",
    BLOCK_HALF_WIDTH + "gpu_energy_j_per_output_token",
    "energy_uncertainty_j",
    "cpu_energy_j",
    "dram_energy_j",
    "avg_gpu_power_w",
    BLOCK_HALF_WIDTH + "avg_gpu_power_w",
    "cap_bound_ratio",
    "power_to_cap_ratio",
    "median_workflow_ms",
    "p99_workflow_ms",
    "median_e2el_ms",
    "median_ttft_ms",
    "p99_ttft_ms",
    "median_tpot_ms",
    "output_throughput",
    BLOCK_HALF_WIDTH + "output_throughput",
    "request_goodput",
    "slo_attainment_ratio",
    "workflow_goodput",
    "workflow_slo_attainment_ratio",
    "cost_usd",
    "carbon_g_co2e",
    "window_s",
)
_NO_REASON = "no reason recorded"
_RULES = {
    "steady_state": "from the k-th first token to the k-th last finish, k = the largest batch reached (steady_state)",
    "arrivals": "from a fixed share of the arrivals to the last arrival (arrivals)",
    "workflows": "from the first submit to the last finish (workflows)",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a table: the text that is shown and the key that sorts it."""

    text: str
    key: float | str


@dataclass(frozen=True, slots=True)
class CellTable:
    """All cells: columns as (title, key in the results), and for each cell its id, status and entries."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, str, tuple[Entry, ...]], ...]


def facts(view: SweepView, details: Sequence[Detail]) -> list[tuple[str, str]]:
    """Return what was run, on what, and how it was measured."""
    named = [
        ("Engine", " \u00b7 ".join(filter(None, (_distinct(view.frame, "engine.kind"), view.engines)))),
        ("Model", _models(view.frame)),
        ("Hardware", _hardware(view)),
        ("Workflows", _distinct(view.frame, "workflow.kind")),
        ("Load", _load(view.frame)),
        ("Window", _windows(details)),
        ("Objective", view.objective),
        ("Repeats", _repeats(view)),
        ("Energy", energy_fact(view.frame)),
        ("Energy spent", lifecycle_fact(view.spent)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in _versions(view.provenance).items())),
    ]
    return [(name, text) for name, text in named if text]


def status_counts(frame: pd.DataFrame) -> list[tuple[str, int]]:
    """Return the number of cells of each status, ok, invalid and failed first."""
    counts = frame["status"].value_counts()
    known = [status for status in ("ok", "invalid", "failed") if status in counts]
    return [(str(status), int(counts[status])) for status in (*known, *counts.index.difference(known))]


def excluded_rows(view: SweepView, axes: Axes) -> list[tuple[str, str, str, str]]:
    """Return id, place in the matrix, status and reasons of every cell that is not used."""
    return [
        (
            row["cell_id"],
            f"{axes.panel_name(row)}: {axes.point_label(row)}",
            str(row["status"]),
            row["reasons"] or "no reason recorded",
        )
        for _, row in view.excluded.iterrows()
    ]


def front_rows(panels: Sequence[FrontPanel]) -> list[tuple[str, str, str, str, tuple[str, ...]]]:
    """Return panel, name, latency, energy and cells of every member of every front; means ± half a 95 % interval."""
    return [
        (
            panel.name,
            member.label,
            quantity(1000 * member.latency_s, "ms") + _half(member.latency_half_s, 1000, "ms"),
            f"{number(member.energy_j)} J" + _half(member.energy_half_j, 1, "J"),
            member.cells,
        )
        for panel in panels
        for member in panel.members
    ]


def _half(width: float | None, factor: float, unit: str) -> str:
    return "" if width is None else f" ± {quantity(factor * width, unit)}"


def cell_table(frame: pd.DataFrame, axes: Axes) -> CellTable:
    """Return one row per cell, in the order of the sweep."""
    titles = {axis.key: axis.title for axis in axes.all}
    titles |= {key: key for key in ("seed", "repeat") if key in frame and frame[key].nunique() > 1}
    titles |= {key: _metric_title(key) for key in _CELL_METRICS if key in frame and frame[key].notna().any()}
    if not any(key in titles for key in _ENERGY_METRICS):
        titles |= {_ENERGY_METRICS[-1]: _metric_title(_ENERGY_METRICS[-1])}
    rows = tuple(
        (str(row["cell_id"]), str(row["status"]), tuple(_entry_of(row, key) for key in titles))
        for row in frame.to_dict("records")
    )
    return CellTable(tuple((title, key) for key, title in titles.items()), rows)


def _metric_title(key: str) -> str:
    unit = BY_KEY[key].unit
    return f"{metric_name(key)} ({unit})" if unit else metric_name(key)


def _entry_of(row: Mapping[Hashable, Any], key: str) -> Entry:
    """Return an entry; the share of time limited by a cap is marked if the cap is inert."""
    entry = _entry(key, row.get(key, math.nan))
    inert = key == "cap_bound_ratio" and row.get("cap_effect") == "inert"
    return replace(entry, text=f"{entry.text} (inert)") if inert else entry


def _entry(key: str, value: Any) -> Entry:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Entry(str(value), str(value))
    if not math.isfinite(value):
        return Entry(NOT_MEASURED if key in _ENERGY_METRICS else MISSING, "")
    return Entry(number(float(value)) if value != int(value) else f"{int(value)}", float(value))


def reproduce_command(view: SweepView) -> str:
    """Return the command line that runs the same sweep again."""
    return shlex.join(["python", "-m", "orchestrator", *view.overrides])


def provenance_json(view: SweepView) -> str:
    """Return the provenance of the manifest as indented JSON."""
    return json.dumps(view.provenance, indent=2, sort_keys=True, ensure_ascii=False, default=str)


def _distinct(frame: pd.DataFrame, key: str) -> str:
    values = frame[key].dropna().unique().tolist() if key in frame else []
    if not any(isinstance(value, str) for value in values):
        values.sort()
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def _models(frame: pd.DataFrame) -> str:
    if "model.name" not in frame:
        return ""
    native, length = "model.max_position_embeddings", "model.max_model_len"
    names = []
    for name, group in frame.groupby("model.name", sort=False):
        extended = {native, length} <= set(group) and (group[length] > group[native]).any()
        note = (
            f" (context extended beyond its {group[native].iloc[0]} tokens: speed and energy only)" if extended else ""
        )
        names.append(f"{name}{note}")
    return ", ".join(names)


def _windows(details: Sequence[Detail]) -> str:
    panels: dict[str, list[str]] = {}
    for detail in details:
        if detail.rule is not None:
            panels.setdefault(_RULES.get(detail.rule, detail.rule), []).append(detail.panel)
    if len(panels) == 1:
        return next(iter(panels))
    return "; ".join(f"{', '.join(names)}: {rule}" for rule, names in panels.items())


def _load(frame: pd.DataFrame) -> str:
    words = {"load.users": "users", "load.request_rate": "workflows/s"}
    counts = [f"{values} {word}" for key, word in words.items() if (values := _distinct(frame, key))]
    return ", ".join(text for text in (_distinct(frame, "load.kind"), *counts) if text)


def _hardware(view: SweepView) -> str:
    text = _distinct(view.frame, "hardware.name")
    with_gpus = view.frame[view.frame["hardware.num_gpus"] > 0] if "hardware.num_gpus" in view.frame else view.frame
    gpus = _distinct(with_gpus, "engine.tensor_parallel_size")
    text += f", {gpus} GPU a cell" if gpus and text else ""
    return f"{text} (simulated)" if view.simulated and text else text


def _repeats(view: SweepView) -> str:
    """Return the number of cells per point, and whether a stop rule decided it."""
    frame = view.frame
    keys = [key for key in frame.columns if "." in key and frame[key].nunique(dropna=False) > 1]
    sizes = frame.groupby(keys, dropna=False).size() if keys else pd.Series([len(frame)])
    least, most = (int(sizes.min()), int(sizes.max())) if len(sizes) else (0, 0)
    if most <= 1:
        within = any(key.startswith(BLOCK_HALF_WIDTH) for key in frame.columns)
        return "1 a point: intervals within windows only, none between repeats" if within else "1 a point: no intervals"
    count = f"{least}" if least == most else f"{least} to {most}"
    stopped = f"; {view.stopped}" if view.stopped else ""
    return f"{count} a point; intervals are 95 % Student t{stopped}"


def _versions(provenance: dict[str, Any]) -> dict[str, Any]:
    versions = provenance.get("versions")
    return versions if isinstance(versions, dict) else {}
