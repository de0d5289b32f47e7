"""Power limits and SM clocks of sampled GPUs: what reduced a clock, and whether the cell's settings were in force."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from orchestrator.measure.columns import Columns, Flags, Floats, GpuSamples, gaps, sample_weights_s
from orchestrator.measure.reasons import because
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec
from orchestrator.spec.protocol import ProtocolSpec

_GPU_IDLE = 0x01
"""nvmlClocksEventReasonGpuIdle: nothing runs, even if work is queued; the bits are those of nvml.h."""

_POWER_CAP = 0x04
"""nvmlClocksEventReasonSwPowerCap."""

_HW_SLOWDOWN, _SW_THERMAL, _HW_THERMAL, _POWER_BRAKE = 0x08, 0x20, 0x40, 0x80

_LIMIT_TOLERANCE_W = 1.0
"""The driver rounds limits."""

_LIMIT_AGE_S = 0.5
"""Maximum age of the power limit of a sample: limits are not read with every sample."""

_CLOCK_TOLERANCE_MHZ = 15.0
"""One step of an SM clock: a locked clock is rounded to one."""

_MAX_CLOCK_OFF_RATIO = 0.05
"""Largest share of the busy time in which the clock may differ from the locked one."""


def clock_metrics(gpus: Sequence[GpuSamples], requests: Columns, window: Window) -> dict[str, float]:
    """Return shares of the window or of its busy time, each of the GPU with the largest; without unknown ones."""
    edges = window.edges
    of_gpu: dict[str, Callable[[GpuSamples], float]] = {
        "thermal_throttle_ratio": lambda gpu: gpu.share(_thermal_mask(gpu), _known_mask(gpu), edges),
        "power_brake_ratio": lambda gpu: gpu.share(gpu.event(_POWER_BRAKE), _known_mask(gpu), edges),
        "cap_bound_ratio": lambda gpu: gpu.share(gpu.event(_POWER_CAP), _busy_clock_mask(gpu, requests, window), edges),
        "max_gpu_temperature_c": lambda gpu: _largest(gpu.temperature_c[sample_weights_s(gpu.t_s, edges) > 0]),
    }
    values = {key: [value_of(gpu) for gpu in gpus] for key, value_of in of_gpu.items()}
    metrics = {key: max(of_each) for key, of_each in values.items() if of_each and not np.isnan(of_each).any()}
    clocks_mhz = [_mean_clock_mhz(gpu, _busy_mask(gpu, requests, window), window) for gpu in gpus]
    if clocks_mhz and not np.isnan(clocks_mhz).any():
        metrics["avg_sm_clock_mhz"] = float(np.mean(clocks_mhz))
    return metrics


def throttling_reasons(metrics: dict[str, float], protocol: ProtocolSpec) -> tuple[Reason, ...]:
    """Return why the GPU was slowed by something that is not part of the experiment; empty if not, or if unknown."""
    most = protocol.max_throttled_ratio
    bound = f"protocol.max_throttled_ratio is {most:g}"
    reasons = []
    heat, brake = metrics.get("thermal_throttle_ratio", 0.0), metrics.get("power_brake_ratio", 0.0)
    if heat > most:
        hottest = metrics.get("max_gpu_temperature_c")
        at = f", at up to {hottest:.0f} C" if hottest is not None else ""
        detail = (
            f"heat reduced the clock in {heat:.1%} of the window{at}; {bound}; cool the GPU, or wait longer between"
        )
        reasons.append(because("thermal_throttling", f"{detail} cells"))
    if brake > most:
        detail = f"the power brake reduced the clock in {brake:.1%} of the window; {bound}; check the power supply"
        reasons.append(because("power_brake", detail))
    return tuple(reasons)


def _busy_mask(gpu: GpuSamples, requests: Columns, window: Window) -> Flags:
    """Return which samples were taken while a request was in the engine; shape (samples,)."""
    whole = (min(float(gpu.t_s[0]), window.start_s), max(float(gpu.t_s[-1]), window.end_s))
    busy = np.ones(len(gpu.t_s), dtype=bool)
    for start_s, end_s in gaps(requests.floats("submitted_s"), requests.floats("finished_s"), whole):
        busy[np.searchsorted(gpu.t_s, start_s) : np.searchsorted(gpu.t_s, end_s)] = False
    return busy


def _busy_clock_mask(gpu: GpuSamples, requests: Columns, window: Window) -> Flags:
    """Return which samples hold the clock-event reasons of a GPU at work; shape (samples,).

    A request in the engine may wait for a CPU. Meanwhile the GPU is idle, and drivers report wrong reasons, the power
    limit among them.
    """
    return _busy_mask(gpu, requests, window) & _known_mask(gpu) & ~gpu.event(_GPU_IDLE)


def _thermal_mask(gpu: GpuSamples) -> Flags:
    """Return which samples show a thermal slowdown, or one by hardware that the power brake did not cause."""
    return gpu.event(_SW_THERMAL | _HW_THERMAL) | (gpu.event(_HW_SLOWDOWN) & ~gpu.event(_POWER_BRAKE))


def _known_mask(gpu: GpuSamples) -> Flags:
    known: Flags = ~np.isnan(gpu.clock_event_reasons)
    return known


def _largest(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else np.nan


def _mean_clock_mhz(gpu: GpuSamples, where: Flags, window: Window) -> float:
    weights_s = sample_weights_s(gpu.t_s, window.edges) * (where & ~np.isnan(gpu.sm_clock_mhz))
    return float(np.average(np.nan_to_num(gpu.sm_clock_mhz), weights=weights_s)) if weights_s.sum() > 0 else np.nan


def cap_metrics(
    gpus: Sequence[GpuSamples], cell: Cell, window: Window, metrics: Mapping[str, float]
) -> dict[str, float]:
    """Return mean power over the limits of all GPUs; empty if either is unknown."""
    weights_s = [sample_weights_s(gpu.t_s, window.edges) for gpu in gpus]
    if "avg_gpu_power_w" not in metrics or not gpus or any(weight_s.sum() <= 0 for weight_s in weights_s):
        return {}
    limits_w = [
        np.average(_limit_in_force_w(gpu, cell), weights=weight_s)
        for gpu, weight_s in zip(gpus, weights_s, strict=True)
    ]
    total_w = float(np.sum(limits_w))
    return {} if np.isnan(total_w) or total_w <= 0 else {"power_to_cap_ratio": metrics["avg_gpu_power_w"] / total_w}


def _limit_in_force_w(gpu: GpuSamples, cell: Cell) -> Floats:
    """Return the enforced limit at each sample; the preset's if it was not read, NaN without one; shape (samples,)."""
    hardware = cell.hardware
    preset_w = hardware.effective_power_limit_w if isinstance(hardware, HardwareSpec) else np.nan
    return np.where(np.isnan(gpu.power_limit_w), preset_w, gpu.power_limit_w)


def knob_reasons(cell: Cell, gpus: Sequence[GpuSamples], requests: Columns, window: Window) -> tuple[Reason, ...]:
    """Return why the requested limit or clock was not in force; empty if both were, or if that is unknown."""
    reasons: list[Reason] = []
    for gpu in gpus:
        reasons += _limit_reasons(cell, gpu, window)
        reasons += _clock_reasons(cell, gpu, requests, window)
    return tuple({reason.code: reason for reason in reversed(reasons)}.values())


def _limit_reasons(cell: Cell, gpu: GpuSamples, window: Window) -> list[Reason]:
    since_set = gpu.t_s >= _LIMIT_AGE_S  # the cell's clock begins when its limits are set
    weights_s = sample_weights_s(gpu.t_s, window.edges)
    limits_w = gpu.power_limit_w[(weights_s > 0) & ~np.isnan(gpu.power_limit_w) & since_set]
    if not len(limits_w):
        return []
    requested_w = cell.hardware.power_limit_w
    expected_w = float(limits_w[0]) if requested_w is None else requested_w
    off_w = limits_w[np.abs(limits_w - expected_w) > _LIMIT_TOLERANCE_W]
    if not len(off_w):
        return []
    expected = f"{expected_w:g} W at its start" if requested_w is None else f"{expected_w:g} W requested"
    detail = (
        f"the enforced limit of {gpu.device} was {off_w[0]:g} W in {len(off_w) / len(limits_w):.0%} of the window, "
        f"not {expected}: another process sets it, or another limit is lower"
    )
    return [because("limit_not_held", detail)]


def _clock_reasons(cell: Cell, gpu: GpuSamples, requests: Columns, window: Window) -> list[Reason]:
    """Return why the locked clock was not in force, apart from the power limit; the clock of an idle GPU is ignored."""
    requested_mhz = cell.hardware.sm_clock_mhz
    if requested_mhz is None:
        return []
    known = _busy_mask(gpu, requests, window) & ~np.isnan(gpu.sm_clock_mhz) & ~gpu.event(_GPU_IDLE)
    off = (np.abs(gpu.sm_clock_mhz - requested_mhz) > _CLOCK_TOLERANCE_MHZ) & ~gpu.event(_POWER_CAP)
    edges = window.edges
    share = gpu.share(off, known, edges)
    if not share > _MAX_CLOCK_OFF_RATIO:
        return []
    typical_mhz = float(np.median(gpu.sm_clock_mhz[off & known & (sample_weights_s(gpu.t_s, edges) > 0)]))
    detail = (
        f"the SM clock of {gpu.device} was {typical_mhz:.0f} MHz, not the locked {requested_mhz} MHz, in {share:.0%} "
        "of the busy time, and the power limit was not the cause: the GPU cannot run at this clock; lock a lower one"
    )
    return [because("clock_not_held", detail)]
