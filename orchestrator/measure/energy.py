"""Energy and power of a window: by counter and by integral, busy and idle, of GPUs and of CPUs."""

import math
from collections.abc import Sequence

import numpy as np

from orchestrator.measure.columns import Columns, Floats, gaps
from orchestrator.measure.gpu_energy import GpuEnergy
from orchestrator.measure.reasons import because
from orchestrator.measure.sensor_series import Edges
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason
from orchestrator.spec.protocol import ProtocolSpec

_MIN_IDLE_S = 1.0
"""Shortest interval without requests that counts for the idle power of a sampled GPU."""

_IDLE_TRIM_S = 0.2
"""Seconds trimmed from both ends of an idle interval, because the sensor lags."""

_CPU_METRICS = {"package": "cpu_energy_j", "dram": "dram_energy_j"}


def energy_metrics(gpus: Sequence[GpuEnergy], requests: Columns, window: Window) -> dict[str, float]:
    """Return energy and power of the window, without what was not measured completely; empty without power samples."""
    if not gpus or window.length_s == 0:
        return {}
    edges = window.edges
    total_j, integral_j = _energy_j(gpus, [edges]), sum(gpu.integral_j(edges) for gpu in gpus)
    metrics = {
        "total_gpu_energy_j": total_j,
        "integral_gpu_energy_j": integral_j,
        "avg_gpu_power_w": total_j / window.length_s,
        "peak_gpu_power_w": sum(gpu.peak_w(edges) for gpu in gpus),
        "idle_energy_j": math.nan if math.isnan(total_j) else _idle_energy_j(gpus, requests, edges),
        "cell_gpu_energy_j": _energy_j(gpus, [(0.0, float(requests.floats("finished_s").max(initial=0.0)))]),
    }
    if gpus[0].sampled:
        metrics["energy_uncertainty_j"] = sum(gpu.uncertainty_j(edges) for gpu in gpus)
    if total_j > 0 and all(gpu.counted(edges) for gpu in gpus):
        metrics["energy_gap_ratio"] = integral_j / total_j - 1
    idle_w = _idle_power_w(gpus, requests)
    metrics |= {"idle_gpu_power_w": idle_w, "active_gpu_energy_j": total_j - idle_w * window.length_s}
    return {key: value for key, value in metrics.items() if not math.isnan(value)}


def energy_ratios(metrics: dict[str, float]) -> dict[str, float]:
    """Return energy per token, request and workflow, and the energy-delay product, from metrics of one window."""
    total_j = metrics.get("total_gpu_energy_j")
    if total_j is None:
        return {}
    denominators = {"output_token": "num_output_tokens", "request": "num_requests", "workflow": "num_workflows"}
    ratios = {
        f"gpu_energy_j_per_{name}": total_j / metrics[key]
        for name, key in denominators.items()
        if metrics.get(key, 0) > 0
    }
    if "gpu_energy_j_per_request" in ratios and "mean_e2el_ms" in metrics:
        ratios["energy_delay_product_js"] = ratios["gpu_energy_j_per_request"] * metrics["mean_e2el_ms"] / 1e3
    return ratios


def energy_source(gpus: Sequence[GpuEnergy], window: Window) -> str | None:
    """Return in words where the window's energy comes from: computed, or which sensor; None if there is no energy."""
    edges = window.edges
    if not gpus or math.isnan(_energy_j(gpus, [edges])):
        return None
    if not gpus[0].sampled:
        return "computed"
    return "counter" if all(gpu.counted(edges) for gpu in gpus) else "integral of power, as no counter could be used"


def energy_reasons(metrics: dict[str, float], protocol: ProtocolSpec) -> tuple[Reason, ...]:
    """Return why the energy is not valid; empty if it is valid or was not measured."""
    reasons = []
    gap, most = metrics.get("energy_gap_ratio", 0.0), protocol.max_energy_gap_ratio
    if abs(gap) > most:
        detail = (
            f"the integral of power is {gap:+.1%} off the energy counter; protocol.max_energy_gap_ratio is {most:g}; "
            "one of the two is wrong"
        )
        reasons.append(because("counter_integral_gap", detail))
    total_j, uncertainty_j = metrics.get("total_gpu_energy_j", 0.0), metrics.get("energy_uncertainty_j", 0.0)
    most = protocol.max_energy_uncertainty_ratio
    if uncertainty_j > most * total_j:
        detail = (
            f"the window's edges leave {uncertainty_j:.3g} J of {total_j:.3g} J uncertain; "
            f"protocol.max_energy_uncertainty_ratio is {most:g}; a longer window has a smaller share"
        )
        reasons.append(because("energy_uncertain", detail))
    return tuple(reasons)


def _energy_j(gpus: Sequence[GpuEnergy], intervals: Sequence[Edges]) -> float:
    return float(sum(gpu.energy_j(edges) for gpu in gpus for edges in intervals))


def _idle(requests: Columns, interval: Edges) -> list[Edges]:
    """Return the parts of the interval in which no request was in the engine."""
    return gaps(requests.floats("submitted_s"), requests.floats("finished_s"), interval)


def _idle_energy_j(gpus: Sequence[GpuEnergy], requests: Columns, edges: Edges) -> float:
    """Return the energy of the interval's parts without requests; parts too short for a sensor have the idle power."""
    idle = _idle(requests, edges)
    if not gpus[0].sampled:
        return _energy_j(gpus, idle)
    short_s = sum(end_s - start_s for start_s, end_s in idle if end_s - start_s < _MIN_IDLE_S)
    long_j = _energy_j(gpus, [(start_s, end_s) for start_s, end_s in idle if end_s - start_s >= _MIN_IDLE_S])
    return long_j + (short_s * _idle_power_w(gpus, requests) if short_s > 0 else 0.0)


def _idle_power_w(gpus: Sequence[GpuEnergy], requests: Columns) -> float:
    """Return the mean power of all GPUs together while no request was in the engine; NaN without such intervals.

    A sensor lags, so of sampled GPUs only long intervals count, without their ends.
    """
    whole = (max(0.0, *(gpu.span_s[0] for gpu in gpus)), min(gpu.span_s[1] for gpu in gpus))
    idle = _idle(requests, whole) if whole[0] < whole[1] else []
    if gpus[0].sampled:
        inner = [(start_s + _IDLE_TRIM_S, end_s - _IDLE_TRIM_S) for start_s, end_s in idle]
        idle = [edges for edges in inner if edges[1] - edges[0] >= _MIN_IDLE_S - 2 * _IDLE_TRIM_S]
    length_s = sum(end_s - start_s for start_s, end_s in idle)
    return _energy_j(gpus, idle) / length_s if length_s > 0 else math.nan


def cpu_energy_metrics(cpu_power: Columns, window: Window) -> dict[str, float]:
    """Return the energy of all packages, and of all memory, of the node; without counters that miss the window."""
    devices, t_s, energy_j = cpu_power.strings("device"), cpu_power.floats("t_s"), cpu_power.floats("energy_j")
    metrics: dict[str, float] = {}
    for kind, key in _CPU_METRICS.items():
        names = [name for name in dict.fromkeys(devices) if str(name).startswith(f"{kind}-")]
        total_j = sum(_cpu_delta_j(t_s[devices == name], energy_j[devices == name], window) for name in names)
        if names and not np.isnan(total_j) and window.length_s > 0:
            metrics[key] = float(total_j)
    return metrics


def _cpu_delta_j(t_s: Floats, energy_j: Floats, window: Window) -> float:
    """Return the energy by linear interpolation, because RAPL updates every millisecond; NaN beyond the reads."""
    known = ~np.isnan(energy_j)
    if not known.any():
        return np.nan
    start_j, end_j = np.interp(window.edges, t_s[known], energy_j[known], left=np.nan, right=np.nan)
    return float(end_j - start_j)
