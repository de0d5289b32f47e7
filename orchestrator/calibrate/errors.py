"""Prediction errors of fits: cells that a fit has not seen are simulated with it, and their metrics compared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.calibrate.cells import MeasuredCell
from orchestrator.calibrate.fit import HardwareFit, fit_hardware
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell
from orchestrator.spec.engine import EngineOptions
from orchestrator.spec.hardware import HardwareSpec

METRICS = {
    "median_itl_ms": "median ITL",
    "output_throughput": "throughput",
    "avg_gpu_power_w": "mean power",
    "gpu_energy_j_per_output_token": "J/token",
    "median_ttft_ms": "median TTFT",
}
"""Metrics that are predicted, and their headings."""

PRIOR = "prior"
CONFIGURATION_LEFT_OUT = "configuration_left_out"
WORKFLOW_LEFT_OUT = "workflow_left_out"
"""Kinds of prediction of a cell: with the prior, with a fit to all other configurations, to all other workflows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """Relative errors of each cell, by kind of prediction and metric, and the fits without one configuration each."""

    errors: list[dict[str, dict[str, float]]]
    left_out_fits: list[HardwareFit]


def cross_validate(cells: Sequence[MeasuredCell], prior: HardwareSpec, fit: HardwareFit) -> CrossValidation:
    """Predict every cell with the prior, and with fits to the cells of other configurations and of other workflows.

    Args:
        cells: measured.
        prior: the GPU with the prior coefficients.
        fit: the fit to all cells, from which the others start.
    """
    groups = {
        CONFIGURATION_LEFT_OUT: [cell.configuration for cell in cells],
        WORKFLOW_LEFT_OUT: [cell.cell.workflow.kind for cell in cells],
    }
    fits: dict[str, list[HardwareFit]] = {kind: [] for kind in groups}
    errors = [{PRIOR: _errors(cell, prior)} for cell in cells]
    for kind, of in groups.items():
        for left_out in dict.fromkeys(of) if len(set(of)) > 1 else ():
            rest = [cell for cell, group in zip(cells, of, strict=True) if group != left_out]
            fits[kind].append(fit_hardware(rest, prior, like=fit))
            for cell, group, of_cell in zip(cells, of, errors, strict=True):
                if group == left_out:
                    of_cell[kind] = _errors(cell, fits[kind][-1].hardware)
    return CrossValidation(errors=errors, left_out_fits=fits[CONFIGURATION_LEFT_OUT])


def _errors(cell: MeasuredCell, hardware: HardwareSpec) -> dict[str, float]:
    """Return predicted over measured, less one, of the metrics that both have."""
    predicted = run_cell(simulated_twin(cell.cell, hardware)).metrics
    return {
        name: predicted[name] / cell.metrics[name] - 1
        for name in METRICS
        if name in predicted and cell.metrics.get(name, 0) > 0
    }


def simulated_twin(cell: Cell, hardware: HardwareSpec, **options: Any) -> Cell:
    """Return the same experiment on the simulated engine in virtual time, on this GPU, without warm-up or cooldown."""
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


def error_table(validation: CrossValidation) -> dict[str, dict[str, dict[str, float]]]:
    """Return, by kind of prediction and metric, the mean absolute, mean and worst error, and the number of cells."""
    kinds = dict.fromkeys(kind for errors in validation.errors for kind in errors)
    return {kind: _aggregate([errors.get(kind, {}) for errors in validation.errors]) for kind in kinds}


def _aggregate(errors: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    values = {name: [error[name] for error in errors if name in error] for name in METRICS}
    return {
        name: {
            "mean_absolute": sum(map(abs, of_cells)) / len(of_cells),
            "mean": sum(of_cells) / len(of_cells),
            "worst": max(of_cells, key=abs),
            "cells": len(of_cells),
        }
        for name, of_cells in values.items()
        if of_cells
    }


def jackknife_error(left_out: Sequence[float]) -> float:
    """Return the jackknife standard error from values that each leave one group out; 0 for fewer than two."""
    n = len(left_out)
    if n < 2:
        return 0.0
    mean = sum(left_out) / n
    return math.sqrt((n - 1) / n * sum((value - mean) ** 2 for value in left_out))
