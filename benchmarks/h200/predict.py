"""``python -m benchmarks.h200.predict``: simulate each cell of the two sweeps on an H200.

The results go to ``benchmarks/data/h200/prediction.json``, which is committed before anything is measured. Measured
cells are compared with this file, not with the preset, which may have changed since. The section of docs/h200.md
compares the predictions with published measurements of other GPUs.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.h200 import DATA, SWEEPS
from benchmarks.machine import today
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.records import provenance
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell

_HARDWARE = "h200_sxm"
_ENERGY = "gpu_energy_j_per_output_token"
_REFERENCE, _BATCH = SWEEPS
_METRICS = (
    _ENERGY,
    "gpu_energy_j_per_workflow",
    "avg_gpu_power_w",
    "output_throughput",
    "median_itl_ms",
    "median_ttft_ms",
    "median_workflow_ms",
    "mean_num_running",
    "window_s",
)
"""Metrics of a cell that are stored, by the names of docs/metrics.md."""


def main() -> None:
    """Simulate all cells and store their metrics."""
    rows = [_row(sweep, cell) for sweep in SWEEPS for cell in cells_of(sweep)]
    prediction = {
        "date": today(),
        "versions": provenance.versions(),
        "git": provenance.git_state(),
        "hardware": cells_of(SWEEPS[0])[0].hardware.model_dump(mode="json"),
        "cells": rows,
    }
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / "prediction.json").write_text(json.dumps(prediction, indent=1) + "\n")
    for row in rows:
        print(row["sweep"], row["workflow"], row["max_num_seqs"], f"{row['gpu_energy_j_per_output_token']:.4g} J/token")


def cells_of(sweep: str) -> tuple[Cell, ...]:
    """Return the cells of a sweep on the simulated H200."""
    expansion = compose((f"+sweep={sweep}", "engine=simulated", f"hardware={_HARDWARE}"))
    assert expansion is not None
    return build(expansion)[0].cells


def _row(sweep: str, cell: Cell) -> dict[str, Any]:
    metrics = run_cell(cell).metrics
    stored = {name: metrics[name] for name in _METRICS if name in metrics}
    return {"sweep": sweep, "workflow": cell.workflow.kind, "max_num_seqs": cell.engine.max_num_seqs, **stored}


def prediction_section(prediction: Mapping[str, Any]) -> str:
    """Return both sweeps as Markdown, the first with published rows of other GPUs."""
    commit = (prediction["git"] or {}).get("commit", "unknown")[:12]
    return "\n\n".join(
        (
            f"`python -m benchmarks.h200.predict`, {prediction['date']}, at commit {commit}, before any cell was "
            "measured: the preset `h200_sxm`, which has H100's coefficients at H200's bandwidth. Expect energies "
            "20 to 25 % off ([simulation.md](simulation.md)).",
            "`reference_8b`, beside published rows of the same model (ML.ENERGY leaderboard v3, text conversation, as "
            "many tokens an answer):",
            "\n".join(_reference(prediction)),
            "`batch_h200`:",
            "\n".join(_batch(prediction)),
        )
    )


def published() -> dict[tuple[str, int], dict[str, float]]:
    """Return published rows by GPU and ``max_num_seqs``, with the names of docs/metrics.md."""
    with (DATA / "published.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        (row["gpu"], int(row["max_num_seqs"])): {
            name: float(value) for name, value in row.items() if name not in ("gpu", "max_num_seqs")
        }
        for row in rows
    }


def predicted_rows(prediction: Mapping[str, Any], sweep: str) -> list[Mapping[str, Any]]:
    """Return the predictions of a sweep, one row per cell."""
    return [row for row in prediction["cells"] if row["sweep"] == sweep]


def _reference(prediction: Mapping[str, Any]) -> Iterator[str]:
    yield "| `max_num_seqs` | J/token | W | median ITL, ms | tok/s | H100: J/token | W | ITL, ms | B200: J/token |"
    yield "|---" * 9 + "|"
    others = published()
    for row in predicted_rows(prediction, _REFERENCE):
        batch = row["max_num_seqs"]
        h100, b200 = others["H100", batch], others["B200", batch]
        yield (
            f"| {batch} | {_figures(row)} | {h100[_ENERGY]:.3f} | {h100['avg_gpu_power_w']:.0f} "
            f"| {h100['median_itl_ms']:.1f} | {b200[_ENERGY]:.3f} |"
        )


def _batch(prediction: Mapping[str, Any]) -> Iterator[str]:
    yield "| workflow | `max_num_seqs` | J/token | W | median ITL, ms | tok/s | J/workflow | median workflow, s |"
    yield "|---" * 8 + "|"
    for row in predicted_rows(prediction, _BATCH):
        yield (
            f"| {row['workflow']} | {row['max_num_seqs']} | {_figures(row)} | {row['gpu_energy_j_per_workflow']:,.0f} "
            f"| {row['median_workflow_ms'] / 1e3:.1f} |"
        )


def _figures(row: Mapping[str, Any]) -> str:
    return (
        f"{row[_ENERGY]:.3f} | {row['avg_gpu_power_w']:.0f} | {row['median_itl_ms']:.1f} "
        f"| {row['output_throughput']:,.0f}"
    )


if __name__ == "__main__":
    main()
