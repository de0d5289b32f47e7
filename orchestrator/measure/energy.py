"""Energy of a window by the power samples: counter and integral, busy and idle."""

import numpy as np

from orchestrator.measure.columns import Columns
from orchestrator.measure.overlap import PowerSeries, gaps
from orchestrator.measure.window import Window
from orchestrator.record import Reason

MAX_ENERGY_GAP_RATIO = 0.05
"""Counter and integral further apart than this make a cell invalid (arXiv 2312.02741 puts the sensor at ±5 %)."""


def energy_metrics(power: Columns, requests: Columns, window: Window) -> dict[str, float]:
    """Energy and power of the window; empty where no power was recorded."""
    if len(power) == 0 or window.length_s == 0:
        return {}
    devices = PowerSeries.by_device(power)
    edges = (window.start_s, window.end_s)
    total_j = sum(device.counter_delta_j(edges) for device in devices)
    found = {
        "total_gpu_energy_j": total_j,
        "avg_gpu_power_w": total_j / window.length_s,
        "peak_gpu_power_w": sum(_peak_w(device, edges) for device in devices),
        "idle_energy_j": _energy_without_requests(devices, requests, edges)[0],
    }
    if total_j > 0:
        found["energy_gap_ratio"] = sum(device.integral_j(edges) for device in devices) / total_j - 1
    whole = (float(devices[0].t_s[0]), float(devices[0].t_s[-1]))
    idle_j, idle_s = _energy_without_requests(devices, requests, whole)
    if idle_s > 0:
        found["idle_gpu_power_w"] = idle_j / idle_s
        found["active_gpu_energy_j"] = total_j - found["idle_gpu_power_w"] * window.length_s
    return found


def energy_ratios(metrics: dict[str, float]) -> dict[str, float]:
    """Energy per token, request and workflow, and the energy-delay product, from metrics of one window."""
    total_j = metrics.get("total_gpu_energy_j")
    if total_j is None:
        return {}
    denominators = {"output_token": "num_output_tokens", "request": "num_requests", "workflow": "num_workflows"}
    found = {
        f"gpu_energy_j_per_{name}": total_j / metrics[key]
        for name, key in denominators.items()
        if metrics.get(key, 0) > 0
    }
    if "gpu_energy_j_per_request" in found and "mean_e2el_ms" in metrics:
        found["energy_delay_product_js"] = found["gpu_energy_j_per_request"] * metrics["mean_e2el_ms"] / 1e3
    return found


def energy_reasons(metrics: dict[str, float]) -> tuple[Reason, ...]:
    """Why the energy does not count; empty if it does or was not measured."""
    gap = metrics.get("energy_gap_ratio", 0.0)
    if abs(gap) <= MAX_ENERGY_GAP_RATIO:
        return ()
    detail = f"the integral of power is {gap:+.1%} off the energy counter; allowed: {MAX_ENERGY_GAP_RATIO:.0%}"
    return (Reason(code="counter_integral_gap", detail=detail, transient=True),)


def _peak_w(device: PowerSeries, edges: tuple[float, float]) -> float:
    inside = (device.t_s >= edges[0]) & (device.t_s <= edges[1])
    at_edges = np.interp(edges, device.t_s, device.power_w)
    return float(max(device.power_w[inside].max(initial=0.0), at_edges.max()))


def _energy_without_requests(
    devices: list[PowerSeries], requests: Columns, interval: tuple[float, float]
) -> tuple[float, float]:
    """Energy (J) and length (s) of the parts of the interval in which no request was in the engine."""
    idle = gaps(requests.floats("submitted_s"), requests.floats("finished_s"), interval)
    energy_j = sum(device.counter_delta_j(gap) for device in devices for gap in idle)
    return energy_j, sum(end_s - start_s for start_s, end_s in idle)
