"""``python -m benchmarks.h200.page``: write the sections of docs/h200.md that come from stored results."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.h200 import DATA, SWEEPS
from benchmarks.h200.bare import bare_section
from benchmarks.h200.predict import predicted_rows, prediction_section, published
from benchmarks.result_files import write_section
from orchestrator import load_sweep
from orchestrator.measure.statistics import mean_of
from orchestrator.records.metrics import BLOCK_HALF_WIDTH
from orchestrator.sensor.output import summary_text
from orchestrator.sensor.recording import About
from orchestrator.sensor.summary import Summary

if TYPE_CHECKING:
    import pandas as pd

PAGE = "h200.md"
_ENERGY = "gpu_energy_j_per_output_token"
_HEAD = "J/token | over the prediction | W | median ITL, ms | tok/s | counter against integral | counts |"
CALIBRATION = "calibrate.txt"
"""Standard output of ``python -m orchestrator calibrate``, a file in `DATA`."""


def sensor_section(results: Any) -> str:
    """Return the section on the power sensor, from the JSON file of `doctor sensor`."""
    about = About.model_validate(results)
    load = "not loaded" if about.load_missing else f"matrix products at {about.load.get('tflops', 0.0):.0f} TFLOP/s"
    gpu = f"{about.gpu['name']}, driver {about.gpu['driver']}, {load}"
    text = summary_text(Summary.model_validate(about.summary))
    return f"`python -m orchestrator doctor sensor`, {about.date}: {gpu} ([sensor.md](sensor.md)).\n\n{text}"


_SECTIONS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("What is predicted", "prediction.json", prediction_section),
    ("The power sensor", "sensor.json", sensor_section),
    ("Beside a bare loop", "bare.json", bare_section),
)


def main() -> None:
    """Write a section for each result that exists."""
    for heading, name, section in _SECTIONS:
        path = DATA / name
        if path.exists():
            write_section(PAGE, heading, section(json.loads(path.read_text())))
    if (DATA / "runs").is_dir():
        write_section(PAGE, "What was measured", measured_section(DATA))
    if (DATA / CALIBRATION).exists():
        write_section(PAGE, "The preset, fitted", calibration_section((DATA / CALIBRATION).read_text()))


def calibration_section(printed: str) -> str:
    """Return the tables that ``calibrate`` printed as Markdown, without its last line, which is JSON."""
    tables = "\n".join(line.rstrip() for line in printed.rstrip().splitlines()[:-1])
    return f"`python -m orchestrator calibrate` ([calibrate.md](calibrate.md)) printed:\n\n```\n{tables}\n```"


def measured_section(data: Path) -> str:
    """Return the sweeps in ``data/runs`` as Markdown: of each name the one with the most measured cells."""
    prediction = json.loads((data / "prediction.json").read_text())
    parts = []
    for sweep in SWEEPS:
        folder = _fullest(data / "runs", sweep)
        if folder is not None:
            parts += [
                _provenance(folder, sweep),
                "\n".join(_table(load_sweep(folder), prediction, sweep)),
                _engines(folder),
            ]
    return "\n\n".join(parts)


def _fullest(runs: Path, sweep: str) -> Path | None:
    """Return the sweep of this name with the most measured cells; None if there is none."""
    sweeps = sorted(path.parent for path in runs.glob(f"{sweep}-*/sweep.json"))
    return max(sweeps, key=_n_measured, default=None)


def _n_measured(folder: Path) -> int:
    return sum("metrics" in json.loads(path.read_text()) for path in folder.glob("cells/*/record.json"))


def _provenance(folder: Path, sweep: str) -> str:
    starts = json.loads((folder / "sweep.json").read_text())["starts"]
    cells = [json.loads(path.read_text())["provenance"] for path in sorted(folder.glob("cells/*/record.json"))]
    values_of = {key: sorted({str(cell[key]) for cell in cells if key in cell}) for key in ("device", "vllm", "torch")}
    versions = "".join(f"; {key} {', '.join(values)}" for key, values in values_of.items() if values)
    return (
        f"`{sweep}`, `{folder.name}`, begun or resumed {len(starts)} times{versions}. `±` is the half-width of a 95 % "
        "interval: of repeats where a configuration has some, else of blocks within the one window "
        "([method.md](method.md))."
    )


def _table(cells: "pd.DataFrame", prediction: Mapping[str, Any], sweep: str) -> Iterator[str]:
    first = "`max_num_seqs` |" if sweep == SWEEPS[0] else "workflow | `max_num_seqs` |"
    last = " over H100, published |" if sweep == SWEEPS[0] else " J/workflow |"
    yield f"| {first} {_HEAD}{last}"
    yield "|---" * (f"{first} {_HEAD}{last}".count("|")) + "|"
    predicted = {(row["workflow"], row["max_num_seqs"]): row for row in predicted_rows(prediction, sweep)}
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
    """Return the mean of a metric and its half-width."""
    values = group[metric].dropna()
    if values.empty:
        return "missing"
    half = mean_of(values.to_numpy()).half_width if len(values) > 1 else None
    if half is None and BLOCK_HALF_WIDTH + metric in group:
        half = group[BLOCK_HALF_WIDTH + metric].iloc[0]
    width = "" if half is None or math.isnan(half) else f" ± {half:{form}}"
    return f"{values.mean():{form}}{width}"


def _engines(folder: Path) -> str:
    """Return engine starts and idle powers as text, from the records of the lanes."""
    lanes = [json.loads(path.read_text()) for path in sorted(folder.glob("lanes/*.json"))]
    started = [lane for lane in lanes if lane.get("engine_start_s") is not None]
    if not started:
        return "No engine started."

    def figures(name: str, form: str) -> str:
        values = [lane[name] for lane in started if lane.get(name) is not None]
        if not values:
            return "missing"
        return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"

    return (
        f"{len(started)} engine starts, median and extremes: {figures('engine_start_s', '.0f')} s, "
        f"{figures('engine_start_energy_j', ',.0f')} J; idle before the engine "
        f"{figures('bare_idle_power_w', '.0f')} W, with it loaded {figures('loaded_idle_power_w', '.0f')} W."
    )


def _number(value: float | None, form: str) -> str:
    return "missing" if value is None or math.isnan(value) else f"{value:{form}}"


if __name__ == "__main__":
    main()
