"""How far a GPU's coefficients are off cells that were measured: these are simulated, and their metrics compared."""

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from benchmarks.h200.fit_cells import Measured
from benchmarks.h200.fit_gpu import Fitted, fitted_gpu
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell
from orchestrator.spec.engine import EngineOptions
from orchestrator.spec.hardware import HardwareSpec

METRICS = (
    "median_itl_ms",
    "output_throughput",
    "avg_gpu_power_w",
    "gpu_energy_j_per_output_token",
    "median_ttft_ms",
)
LEFT_OUT, WORKFLOW_LEFT_OUT = "left_out", "workflow_left_out"
"""Names of predictions of a cell: by a fit on all configurations but its own, on all workflows but its own."""


def simulated_twin(cell: Cell, hardware: HardwareSpec, **options: Any) -> Cell:
    """The same experiment on the simulated engine, in virtual time, on this GPU; nothing needs to warm up there."""
    plain = cell.canonical()
    engine = {name: getattr(cell.engine, name) for name in EngineOptions.model_fields if name not in ("kind", "clock")}
    protocol = {
        name: value for name, value in plain.get("protocol", {}).items() if not name.startswith(("warmup", "cooldown"))
    }
    changed = {
        "engine": {**engine, "kind": "simulated", **options},
        "hardware": hardware.model_dump(mode="json"),
        "workflow": {**plain["workflow"], "executor": "local"},
        "collectors": {"power": "simulated"},
        "protocol": protocol,
    }
    return Cell.model_validate({**plain, **changed})


def predicted(cell: Cell, hardware: HardwareSpec) -> dict[str, float]:
    """The metrics of `METRICS` that the simulated engine gives."""
    found = run_cell(simulated_twin(cell, hardware)).metrics
    return {name: found[name] for name in METRICS if name in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Predictions of each cell by the name of the GPU's coefficients, and the fits without each configuration."""

    predictions: list[dict[str, dict[str, float]]]
    left_out_fits: list[Fitted]


def judged(
    cells: Sequence[Measured], assumed: HardwareSpec, whole: Fitted, others: Mapping[str, HardwareSpec], n_jobs: int
) -> Judged:
    """Predict every cell with each of ``others``, and with fits on the cells of other configurations, other workflows.

    Args:
        cells: measured.
        assumed: what the fits assume.
        whole: the fit on all cells.
        others: GPUs by name.
        n_jobs: processes that simulate; with 1 it is done here.
    """
    groups = {LEFT_OUT: [cell.group for cell in cells], WORKFLOW_LEFT_OUT: [cell.cell.workflow.kind for cell in cells]}
    fits: dict[str, list[Fitted]] = {name: [] for name in groups}
    with _pool(n_jobs) as pool:
        asked = [{name: _Task(pool, cell.cell, gpu) for name, gpu in others.items()} for cell in cells]
        for name, of in groups.items():
            for left_out in dict.fromkeys(of) if len(set(of)) > 1 else ():
                rest = [cell for cell, group in zip(cells, of, strict=True) if group != left_out]
                fits[name].append(fitted_gpu(rest, assumed, like=whole))
                for cell, group, tasks in zip(cells, of, asked, strict=True):
                    if group == left_out:
                        tasks[name] = _Task(pool, cell.cell, fits[name][-1].hardware)
        found = [{name: task.result() for name, task in tasks.items()} for tasks in asked]
    return Judged(predictions=found, left_out_fits=fits[LEFT_OUT])


class _Task:
    """A prediction that is made in a pool, or here."""

    def __init__(self, pool: Executor | None, cell: Cell, hardware: HardwareSpec) -> None:
        self._future: Future[dict[str, float]] | None = None
        self._here = (cell, hardware)
        if pool is not None:
            self._future = pool.submit(_predicted_plain, cell.canonical(), hardware.model_dump(mode="json"))

    def result(self) -> dict[str, float]:
        return predicted(*self._here) if self._future is None else self._future.result()


def _pool(n_jobs: int) -> AbstractContextManager[Executor | None]:
    if n_jobs == 1:
        return nullcontext()
    return ProcessPoolExecutor(n_jobs, mp_context=multiprocessing.get_context("spawn"))


def _predicted_plain(cell: dict[str, Any], hardware: dict[str, Any]) -> dict[str, float]:
    return predicted(Cell.model_validate(cell), HardwareSpec.model_validate(hardware))


def relative_errors(measured: Mapping[str, float], predictions: Mapping[str, float]) -> dict[str, float]:
    """Predicted over measured less one, of the metrics that both have."""
    return {
        name: predictions[name] / measured[name] - 1
        for name in METRICS
        if name in predictions and measured.get(name, 0) > 0
    }


def summary(errors: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Of each metric the mean absolute error over cells, the mean one, and the worst; how many cells have it."""
    found = {}
    for name in METRICS:
        values = [error[name] for error in errors if name in error]
        if values:
            found[name] = {
                "mean_absolute": sum(map(abs, values)) / len(values),
                "mean": sum(values) / len(values),
                "worst": max(values, key=abs),
                "cells": len(values),
            }
    return found
