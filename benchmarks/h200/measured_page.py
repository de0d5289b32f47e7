"""The section of docs/h200.md on what the sweeps measured: each cell beside its prediction, engines, versions."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.h200.kept import SWEEPS
from benchmarks.h200.prediction_page import cells_of, published
from orchestrator import load_sweep
from orchestrator.records.metrics import BLOCK_HALF_WIDTH

if TYPE_CHECKING:
    import pandas as pd

_ENERGY = "gpu_energy_j_per_output_token"
_HEAD = "J/token | over the prediction | W | median ITL, ms | tok/s | counter against integral | counts |"


def measured_section(data: Path) -> str:
    """All sweeps in ``data/runs`` that have the name of one of ours, as Markdown; the newest of each name."""
    told = json.loads((data / "prediction.json").read_text())
    parts = []
    for sweep in SWEEPS:
        folder = _newest(data / "runs", sweep)
        if folder is not None:
            parts += [_provenance(folder, sweep), "\n".join(_table(load_sweep(folder), told, sweep)), _engines(folder)]
    return "\n\n".join(parts)


def _newest(runs: Path, sweep: str) -> Path | None:
    """The sweep of this name with the most cells that ran, the last of equals."""
    found = sorted(path.parent for path in runs.glob(f"{sweep}-*/sweep.json"))
    return max(found, key=_n_measured, default=None)


def _n_measured(folder: Path) -> int:
    return sum("metrics" in json.loads(path.read_text()) for path in folder.glob("cells/*/record.json"))


def _provenance(folder: Path, sweep: str) -> str:
    starts = json.loads((folder / "sweep.json").read_text())["starts"]
    cells = [json.loads(path.read_text())["provenance"] for path in sorted(folder.glob("cells/*/record.json"))]
    of_all = {key: sorted({str(cell[key]) for cell in cells if key in cell}) for key in ("device", "vllm", "torch")}
    told = "".join(f"; {key} {', '.join(values)}" for key, values in of_all.items() if values)
    return (
        f"`{sweep}`, `{folder.name}`, begun or resumed {len(starts)} times{told}. `±` is the half-width of a 95 % "
        "interval: of repeats where a configuration has some, else of blocks within the one window "
        "([method.md](method.md))."
    )


def _table(cells: "pd.DataFrame", told: Mapping[str, Any], sweep: str) -> Iterator[str]:
    first = "`max_num_seqs` |" if sweep == SWEEPS[0] else "workflow | `max_num_seqs` |"
    last = " over H100, published |" if sweep == SWEEPS[0] else " J/workflow |"
    yield f"| {first} {_HEAD}{last}"
    yield "|---" * (f"{first} {_HEAD}{last}".count("|")) + "|"
    predicted = {(row["workflow"], row["max_num_seqs"]): row for row in cells_of(told, sweep)}
    groups = cells[cells["status"] != "failed"].groupby(["workflow.kind", "engine.max_num_seqs"])
    for configuration, group in groups:
        workflow, batch = str(configuration[0]), int(str(configuration[1]))
        row = _row(group, predicted.get((workflow, batch), {}))
        if sweep == SWEEPS[0]:
            other = published().get(("H100", batch))
            ratio = None if other is None else group[_ENERGY].mean() / other[_ENERGY]
            yield f"| {batch} | {row} | {_number(ratio, '.2f')} |"
        else:
            yield f"| {workflow} | {batch} | {row} | {_number(group['gpu_energy_j_per_workflow'].mean(), ',.0f')} |"


def _row(group: "pd.DataFrame", predicted: Mapping[str, Any]) -> str:
    energy_j = group[_ENERGY].mean()
    reasons = sorted({reason for text in group["reasons"].dropna() for reason in str(text).split(",") if reason})
    gap = group["energy_gap_ratio"].mean() if "energy_gap_ratio" in group else math.nan
    ratio = energy_j / predicted[_ENERGY] if predicted else math.nan
    return " | ".join(
        (
            _with_width(group, _ENERGY, ".4f"),
            _number(ratio, ".2f"),
            _with_width(group, "avg_gpu_power_w", ".0f"),
            _number(group["median_itl_ms"].mean(), ".2f"),
            _with_width(group, "output_throughput", ",.0f"),
            _number(gap, "+.2%"),
            "yes" if not reasons else f"no: {', '.join(reasons)}",
        )
    )


def _with_width(group: "pd.DataFrame", metric: str, form: str) -> str:
    """The mean of a metric, and how far it is known."""
    from orchestrator.measure.statistics import mean_of

    values = group[metric].dropna()
    if values.empty:
        return "missing"
    half = mean_of(values.to_numpy()).half_width if len(values) > 1 else None
    if half is None and BLOCK_HALF_WIDTH + metric in group:
        half = group[BLOCK_HALF_WIDTH + metric].iloc[0]
    width = "" if half is None or math.isnan(half) else f" ± {half:{form}}"
    return f"{values.mean():{form}}{width}"


def _engines(folder: Path) -> str:
    """Engine starts and idle powers, from the records of the lanes."""
    lanes = [json.loads(path.read_text()) for path in sorted(folder.glob("lanes/*.json"))]
    started = [lane for lane in lanes if lane.get("engine_start_s") is not None]
    if not started:
        return "No engine started."

    def told(name: str, form: str) -> str:
        values = [lane[name] for lane in started if lane.get(name) is not None]
        if not values:
            return "missing"
        return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"

    return (
        f"{len(started)} engine starts, median and extremes: {told('engine_start_s', '.0f')} s, "
        f"{told('engine_start_energy_j', ',.0f')} J; idle before the engine {told('bare_idle_power_w', '.0f')} W, "
        f"with it loaded {told('loaded_idle_power_w', '.0f')} W."
    )


def _number(value: float | None, form: str) -> str:
    return "missing" if value is None or math.isnan(value) else f"{value:{form}}"
