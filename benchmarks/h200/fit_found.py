"""What a fit found, as plain data: coefficients and how well each is known, errors of every cell, where it is from."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

from benchmarks.h200.fit_cells import LeftOut, Measured
from benchmarks.h200.fit_error import LEFT_OUT, Judged, relative_errors, summary
from benchmarks.h200.fit_gpu import Fitted, coefficient_value, fitted_coefficients
from benchmarks.h200.fit_jackknife import standard_error
from benchmarks.h200.fit_posterior import Coefficient
from benchmarks.h200.fit_power import STATIC_ABOVE_IDLE, energy_ratio
from benchmarks.h200.fit_preset import calibration_text
from benchmarks.h200.fit_steps import steps_plain
from benchmarks.h200.fit_time import time_ratios
from benchmarks.machine import machine, today
from orchestrator.records import provenance
from orchestrator.spec.hardware import HardwareSpec

_LIBRARIES = ("scipy", "pyarrow", "pydantic")
_OF_RECORDS = ("vllm", "torch", "joulegrid", "device", "attention_backend", "vllm_scheduler", "enforce_eager")
_WELL, _PARTLY = 0.9, 0.5


def found_plain(
    cells: Sequence[Measured], left_out: Sequence[LeftOut], assumed: HardwareSpec, whole: Fitted, judged: Judged
) -> dict[str, Any]:
    """Everything that is kept of a fit."""
    rows = [_cell(cell, predictions, whole) for cell, predictions in zip(cells, judged.predictions, strict=True)]
    first = cells[0].cell
    others = [other.hardware for other in judged.left_out_fits]
    names = list(dict.fromkeys(name for row in rows for name in row["errors"]))
    fitted = calibration_names(fitted_coefficients(cells))
    return {
        "gpu": whole.hardware.name,
        "date": today(),
        "machine": machine(),
        "versions": {**provenance.versions(), **{name: metadata.version(name) for name in _LIBRARIES}},
        "of_records": _of_records(cells),
        "sweeps": sorted({cell.sweep_id for cell in cells}),
        "n_cells": len(cells),
        "n_configurations": len({cell.group for cell in cells}),
        "n_cells_with_power": sum(cell.powered is not None for cell in cells),
        "left_out": [{"sweep": one.sweep_id, "cell": one.cell_id, "why": one.why} for one in left_out],
        "coefficients": _coefficients(cells, assumed, whole, judged.left_out_fits),
        "idle_power_w": {
            "value": whole.hardware.idle_power_w,
            "assumed": assumed.idle_power_w,
            "cells": whole.idle_cells,
        },
        "steps_of": first.model.name,
        "steps": steps_plain(first.model, first.engine.tensor_parallel_size, assumed, whole.hardware, others),
        "held": _held(whole.hardware, fitted),
        "sensor_lag_s": whole.lag_s,
        "errors": {name: summary([row["errors"].get(name, {}) for row in rows]) for name in names},
        "cells": rows,
        "calibration_yaml": calibration_text(whole.hardware, fitted),
        "hardware": whole.hardware.model_dump(mode="json"),
    }


def calibration_names(coefficients: Iterable[Coefficient]) -> tuple[str, ...]:
    """The fields of the calibration that these coefficients are."""
    return tuple("static_power_w" if one.name == STATIC_ABOVE_IDLE else one.name for one in coefficients)


def _cell(cell: Measured, predictions: Mapping[str, Mapping[str, float]], whole: Fitted) -> dict[str, Any]:
    errors = {name: relative_errors(cell.metrics, values) for name, values in predictions.items()}
    metrics = dict.fromkeys(name for values in predictions.values() for name in values)
    return {
        "sweep": cell.sweep_id,
        "cell": cell.cell_id,
        "label": cell.label,
        "stalled_share": round(cell.timed.stalled_share, 5),
        "misfit": {name: round(ratio - 1, 5) for name, ratio in _ratios(cell, whole).items()},
        "measured": {name: cell.metrics[name] for name in metrics if name in cell.metrics},
        "errors": {name: {key: round(value, 5) for key, value in found.items()} for name, found in errors.items()},
    }


def _ratios(cell: Measured, whole: Fitted) -> dict[str, float]:
    """What the fit on all cells, this one among them, says over what was measured: where its form does not hold."""
    found = time_ratios(cell.timed, whole.hardware)
    ratio = energy_ratio(cell.powered, whole.hardware, whole.lag_s) if cell.powered is not None else None
    return found if ratio is None else {**found, "energy": ratio}


def _coefficients(
    cells: Sequence[Measured], assumed: HardwareSpec, whole: Fitted, others: Sequence[Fitted]
) -> dict[str, dict[str, Any]]:
    found = {}
    for one in fitted_coefficients(cells):
        log_deviation = _log_deviation(whole, one.name)
        value = coefficient_value(whole.hardware, one.name)
        moved = standard_error([coefficient_value(other.hardware, one.name) for other in others])
        found[one.name] = {
            "assumed": coefficient_value(assumed, one.name),
            "value": value,
            "standard_error": float(f"{max(moved, log_deviation * value):.3g}"),
            "determined": _determined(log_deviation, one.log_deviation),
            "at_limit": value in (one.least, one.most),
        }
    return found


def _log_deviation(whole: Fitted, name: str) -> float:
    if name in whole.times.log_deviation:
        return whole.times.log_deviation[name]
    assert whole.power is not None
    return whole.power.log_deviation[name]


def _determined(log_deviation: float, assumed_deviation: float) -> str:
    """How much of what was open before the data have decided."""
    decided = 1 - (log_deviation / assumed_deviation) ** 2
    return "well" if decided > _WELL else "partly" if decided > _PARTLY else "hardly"


def _held(hardware: HardwareSpec, fitted: Sequence[str]) -> dict[str, float]:
    plain = hardware.calibration.model_dump()
    return {name: value for name, value in plain.items() if name not in fitted}


def _of_records(cells: Sequence[Measured]) -> dict[str, list[str]]:
    """What the records say of the versions they were made with."""
    found = {
        name: sorted({str(cell.provenance[name]) for cell in cells if name in cell.provenance}) for name in _OF_RECORDS
    }
    return {name: values for name, values in found.items() if values}


def error_line(errors: Mapping[str, Mapping[str, float]]) -> str:
    """Mean absolute errors for people."""
    short = {
        "median_itl_ms": "ITL",
        "output_throughput": "throughput",
        "avg_gpu_power_w": "power",
        "gpu_energy_j_per_output_token": "J/token",
        "median_ttft_ms": "TTFT",
    }
    return ", ".join(f"{short[name]} {100 * error['mean_absolute']:.1f} %" for name, error in errors.items())


def source_text(found: Mapping[str, Any]) -> str:
    """What a preset that was written from this says of its coefficients."""
    errors = found["errors"].get(LEFT_OUT)
    vllm = ", ".join(found["of_records"].get("vllm", ["of unknown version"]))
    hardly = [name for name, one in found["coefficients"].items() if one["determined"] == "hardly"]
    sentences = [
        "Coefficients: fitted by `python -m benchmarks.h200.fit`",
        f"on {found['n_cells']} cells measured with vLLM {vllm} ({found['date']}, docs/h200.md).",
        f"Idle power: {found['idle_power_w']['cells']} cells, the engine loaded.",
        f"Mean error of a configuration left out of the fit: {error_line(errors)}." if errors else "",
        f"Hardly told by these cells, near what was assumed: {', '.join(hardly)}." if hardly else "",
        "Not listed: H100's. No clock was set.",
    ]
    return " ".join(filter(None, sentences))
