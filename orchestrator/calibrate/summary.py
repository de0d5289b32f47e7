"""A fit as plain data: parameters and how well each is determined, predicted iterations, errors, provenance."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.calibrate.cells import ExcludedCell, MeasuredCell
from orchestrator.calibrate.errors import CONFIGURATION_LEFT_OUT, CrossValidation, error_table, jackknife_error
from orchestrator.calibrate.fit import HardwareFit, coefficient, fit_priors, fitted_fields
from orchestrator.calibrate.power import energy_ratio
from orchestrator.calibrate.times import time_ratios
from orchestrator.costmodel.cost import CostModel
from orchestrator.costmodel.work import Batch
from orchestrator.spec.hardware import HardwareSpec
from orchestrator.spec.model import ModelSpec

_PROVENANCE = ("vllm", "torch", "joulegrid", "device", "attention_backend", "vllm_scheduler", "enforce_eager")
_WELL, _PARTLY = 0.9, 0.5
"""Shares of the prior variance that the data remove, from which a parameter counts as well or partly determined."""
_CONTEXT_TOKENS = 1000


def summarise_fit(
    cells: Sequence[MeasuredCell],
    excluded: Sequence[ExcludedCell],
    prior: HardwareSpec,
    fit: HardwareFit,
    validation: CrossValidation,
) -> dict[str, Any]:
    """Return everything that is reported of a fit."""
    fields = fitted_fields(cells)
    calibration = fit.hardware.calibration.model_dump()
    return {
        "gpu": fit.hardware.name,
        "sweeps": sorted({cell.sweep_id for cell in cells}),
        "simulated": any(cell.simulated for cell in cells),
        "cells": len(cells),
        "configurations": len({cell.configuration for cell in cells}),
        "cells_with_power": sum(cell.powered is not None for cell in cells),
        "excluded": dict(Counter(one.reason for one in excluded)),
        "provenance": _provenance(cells),
        "parameters": _parameters(cells, prior, fit, validation.left_out_fits),
        "idle_power_w": {
            "prior": prior.idle_power_w,
            "value": fit.hardware.idle_power_w,
            "cells": fit.n_idle_cells,
        },
        "sensor_lag_s": fit.lag_s,
        "held": {name: value for name, value in calibration.items() if name not in fields},
        "iterations": _example_iterations(cells[0], prior, fit, validation.left_out_fits),
        "errors": error_table(validation),
        "by_cell": [_cell(cell, errors, fit) for cell, errors in zip(cells, validation.errors, strict=True)],
    }


def source_text(summary: Mapping[str, Any]) -> str:
    """Return the comment of a preset that is written from a summary."""
    errors = summary["errors"].get(CONFIGURATION_LEFT_OUT, {})
    weak = [name for name, one in summary["parameters"].items() if one["determined"] == "weakly"]
    versions = "; ".join(f"{name} {', '.join(values)}" for name, values in summary["provenance"].items())
    listed = ", ".join(f"{name} {100 * error['mean_absolute']:.1f} %" for name, error in errors.items())
    idle = summary["idle_power_w"]["cells"]
    sentences = [
        f"Coefficients: fitted by `python -m orchestrator calibrate` to {summary['cells']} cells of "
        f"{', '.join(summary['sweeps'])} ({versions or 'versions unknown'}).",
        f"Idle power: the engine loaded, median of {idle} cells." if idle else "",
        f"Mean absolute error of cells whose configuration was left out of the fit: {listed}." if listed else "",
        f"Not determined by these cells, close to the prior: {', '.join(weak)}." if weak else "",
        f"Fitted: {', '.join(summary['parameters'])}.",
    ]
    return " ".join(filter(None, sentences))


def _parameters(
    cells: Sequence[MeasuredCell], prior: HardwareSpec, fit: HardwareFit, left_out: Sequence[HardwareFit]
) -> dict[str, dict[str, Any]]:
    parameters = {}
    for one in fit_priors(cells):
        value, log_deviation = coefficient(fit.hardware, one.name), fit.log_deviation(one.name)
        jackknife = jackknife_error([coefficient(other.hardware, one.name) for other in left_out])
        parameters[one.name] = {
            "prior": coefficient(prior, one.name),
            "value": value,
            "standard_error": float(f"{max(jackknife, log_deviation * value):.3g}"),
            "determined": _determined(log_deviation, one.log_deviation),
            "at_limit": value in (one.lower, one.upper),
        }
    return parameters


def _determined(log_deviation: float, prior_log_deviation: float) -> str:
    removed = 1 - (log_deviation / prior_log_deviation) ** 2
    return "well" if removed > _WELL else "partly" if removed > _PARTLY else "weakly"


def _cell(cell: MeasuredCell, errors: Mapping[str, Mapping[str, float]], fit: HardwareFit) -> dict[str, Any]:
    """Return the errors of one cell; ``misfit`` is that of the fit to all cells, which shows where its form fails."""
    ratios = time_ratios(cell.timed, fit.hardware)
    energy = energy_ratio(cell.powered, fit.hardware, fit.lag_s) if cell.powered is not None else None
    if energy is not None:
        ratios["energy"] = energy
    return {
        "sweep": cell.sweep_id,
        "cell": cell.cell_id,
        "label": cell.label,
        "stalled_share": round(cell.timed.stalled_share, 5),
        "misfit": {name: round(ratio - 1, 5) for name, ratio in ratios.items()},
        "errors": {kind: {name: round(value, 5) for name, value in of.items()} for kind, of in errors.items()},
    }


def _provenance(cells: Sequence[MeasuredCell]) -> dict[str, list[str]]:
    provenance = {
        name: sorted({str(cell.provenance[name]) for cell in cells if name in cell.provenance}) for name in _PROVENANCE
    }
    return {name: values for name, values in provenance.items() if values}


def _example_iterations(
    cell: MeasuredCell, prior: HardwareSpec, fit: HardwareFit, left_out: Sequence[HardwareFit]
) -> list[dict[str, Any]]:
    """Return time and power of typical iterations, which the data determine better than single coefficients."""
    model, n_gpus = cell.cell.model, cell.cell.engine.tensor_parallel_size
    batches = {
        **{f"decode, {n} at {_CONTEXT_TOKENS} tokens": _decode(n) for n in (1, 16, 64, 256)},
        **{f"prompt of {n} tokens": _prompt(n) for n in (512, 4096)},
    }
    rows = []
    for name, batch in batches.items():
        before, after = (_time_and_power(model, n_gpus, gpu, batch) for gpu in (prior, fit.hardware))
        others = [_time_and_power(model, n_gpus, other.hardware, batch) for other in left_out]
        row: dict[str, Any] = {"iteration": name, "model": model.name}
        for at, quantity in enumerate(("time_ms", "power_w")):
            error = float(f"{jackknife_error([one[at] for one in others]):.2g}")
            row[quantity] = {"prior": before[at], "value": after[at], "standard_error": error}
        rows.append(row)
    return rows


def _time_and_power(model: ModelSpec, n_gpus: int, hardware: HardwareSpec, batch: Batch) -> tuple[float, float]:
    """Units: ms, W of all GPUs."""
    cost = CostModel(model, hardware, n_gpus).cost(batch)
    time_s = cost.time_s(batch.context_tokens)
    return time_s * 1e3, cost.energy_j(batch) / time_s


def _decode(n_sequences: int) -> Batch:
    read = n_sequences * _CONTEXT_TOKENS
    return Batch(n_tokens=n_sequences, n_sampled=n_sequences, context_tokens=read, n_pairs=read)


def _prompt(n_tokens: int) -> Batch:
    pairs = n_tokens * (n_tokens + 1) // 2
    work = {"n_tokens": n_tokens, "context_tokens": n_tokens, "n_pairs": pairs, "prefill_pairs": pairs}
    return Batch(**work, n_sampled=1, has_prefill=True)
