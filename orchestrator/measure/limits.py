"""What held the SM clock of sampled GPUs: heat, the power brake, the power limit."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from orchestrator.measure.columns import Columns, Floats, GpuSamples, gaps, held
from orchestrator.measure.reasons import because
from orchestrator.measure.thresholds import CLOCK_TOLERANCE_MHZ, LIMIT_AGE_S, LIMIT_TOLERANCE_W, MAX_CLOCK_OFF_RATIO
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec
from orchestrator.spec.protocol import ProtocolSpec

POWER_CAP = 0x04
"""nvmlClocksEventReasonSwPowerCap; the bits are those of nvml.h."""

GPU_IDLE = 0x01
"""nvmlClocksEventReasonGpuIdle: nothing runs, whatever is queued for it."""

_HW_SLOWDOWN, _SW_THERMAL, _HW_THERMAL, _POWER_BRAKE = 0x08, 0x20, 0x40, 0x80

Flags = npt.NDArray[np.bool_]


def clock_metrics(gpus: Sequence[GpuSamples], requests: Columns, window: Window) -> dict[str, float]:
    """Shares of the window or of its busy time, of the GPU with the largest; absent where a driver does not tell."""
    edges = (window.start_s, window.end_s)
    of_gpu: dict[str, Callable[[GpuSamples], float]] = {
        "thermal_throttle_ratio": lambda gpu: gpu.share(_by_heat(gpu), _told(gpu), edges),
        "power_brake_ratio": lambda gpu: gpu.share(gpu.event(_POWER_BRAKE), _told(gpu), edges),
        "cap_bound_ratio": lambda gpu: gpu.share(gpu.event(POWER_CAP), works(gpu, requests, window), edges),
        "max_gpu_temperature_c": lambda gpu: _largest(gpu.temperature_c[held(gpu.t_s, edges) > 0]),
    }
    values = {key: [find(gpu) for gpu in gpus] for key, find in of_gpu.items()}
    found = {key: max(of_each) for key, of_each in values.items() if of_each and not np.isnan(of_each).any()}
    clocks_mhz = [_mean_clock_mhz(gpu, busy(gpu, requests, window), window) for gpu in gpus]
    if clocks_mhz and not np.isnan(clocks_mhz).any():
        found["avg_sm_clock_mhz"] = float(np.mean(clocks_mhz))
    return found


def throttling_reasons(metrics: dict[str, float], protocol: ProtocolSpec) -> tuple[Reason, ...]:
    """Whether something slowed the GPU that is no part of the experiment; empty if not, or if nothing is known."""
    most = protocol.max_throttled_ratio
    bound = f"protocol.max_throttled_ratio is {most:g}"
    found = []
    heat, brake = metrics.get("thermal_throttle_ratio", 0.0), metrics.get("power_brake_ratio", 0.0)
    if heat > most:
        hottest = metrics.get("max_gpu_temperature_c")
        told = f", at up to {hottest:.0f} C" if hottest is not None else ""
        detail = f"heat held the clock down in {heat:.1%} of the window{told}; {bound}; cool it, or wait longer between"
        found.append(because("thermal_throttling", detail))
    if brake > most:
        detail = f"the power brake held the clock down in {brake:.1%} of the window; {bound}; look at its power supply"
        found.append(because("power_brake", detail))
    return tuple(found)


def busy(gpu: GpuSamples, requests: Columns, window: Window) -> Flags:
    """Which samples were taken while a request was in the engine; shape (samples,)."""
    whole = (min(float(gpu.t_s[0]), window.start_s), max(float(gpu.t_s[-1]), window.end_s))
    found = np.ones(len(gpu.t_s), dtype=bool)
    for start_s, end_s in gaps(requests.floats("submitted_s"), requests.floats("finished_s"), whole):
        found[np.searchsorted(gpu.t_s, start_s) : np.searchsorted(gpu.t_s, end_s)] = False
    return found


def works(gpu: GpuSamples, requests: Columns, window: Window) -> Flags:
    """Which samples tell why the clock of a GPU at work is what it is; shape (samples,).

    A request in the engine may wait for a CPU: of a GPU that idles meanwhile drivers tell odd reasons, the power limit
    among them.
    """
    found: Flags = busy(gpu, requests, window) & _told(gpu) & ~gpu.event(GPU_IDLE)
    return found


def _by_heat(gpu: GpuSamples) -> Flags:
    """Thermal slowdown, or one by hardware of which the brake is not the cause."""
    found: Flags = gpu.event(_SW_THERMAL | _HW_THERMAL) | (gpu.event(_HW_SLOWDOWN) & ~gpu.event(_POWER_BRAKE))
    return found


def _told(gpu: GpuSamples) -> Flags:
    found: Flags = ~np.isnan(gpu.clock_event_reasons)
    return found


def _largest(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else np.nan


def _mean_clock_mhz(gpu: GpuSamples, where: Flags, window: Window) -> float:
    held_s = held(gpu.t_s, (window.start_s, window.end_s)) * (where & ~np.isnan(gpu.sm_clock_mhz))
    return float(np.average(np.nan_to_num(gpu.sm_clock_mhz), weights=held_s)) if held_s.sum() > 0 else np.nan


def limit_in_force_w(gpu: GpuSamples, cell: Cell) -> Floats:
    """The limit at each sample: the enforced one where it was read, else the preset's, else NaN; shape (samples,)."""
    hardware = cell.hardware
    preset_w = hardware.effective_power_limit_w if isinstance(hardware, HardwareSpec) else np.nan
    return np.where(np.isnan(gpu.power_limit_w), preset_w, gpu.power_limit_w)


def cap_metrics(
    gpus: Sequence[GpuSamples], cell: Cell, window: Window, metrics: Mapping[str, float]
) -> dict[str, float]:
    """Mean power over the limits of all GPUs; absent where either is not known."""
    weights_s = [held(gpu.t_s, (window.start_s, window.end_s)) for gpu in gpus]
    if "avg_gpu_power_w" not in metrics or not gpus or any(held_s.sum() <= 0 for held_s in weights_s):
        return {}
    limits_w = [
        np.average(limit_in_force_w(gpu, cell), weights=held_s) for gpu, held_s in zip(gpus, weights_s, strict=True)
    ]
    total_w = float(np.sum(limits_w))
    return {} if np.isnan(total_w) or total_w <= 0 else {"power_to_cap_ratio": metrics["avg_gpu_power_w"] / total_w}


def knob_reasons(cell: Cell, gpus: Sequence[GpuSamples], requests: Columns, window: Window) -> tuple[Reason, ...]:
    """Why the cell did not run under the knobs it names; empty if it did, or where nobody can tell."""
    found: list[Reason] = []
    for gpu in gpus:
        found += _limit_reasons(cell, gpu, window)
        found += _clock_reasons(cell, gpu, requests, window)
    return tuple({reason.code: reason for reason in reversed(found)}.values())


def _limit_reasons(cell: Cell, gpu: GpuSamples, window: Window) -> list[Reason]:
    since_set = gpu.t_s >= LIMIT_AGE_S  # the cell's clock begins when its limits are set
    inside = (held(gpu.t_s, (window.start_s, window.end_s)) > 0) & ~np.isnan(gpu.power_limit_w) & since_set
    limits_w = gpu.power_limit_w[inside]
    if not len(limits_w):
        return []
    asked_w = cell.hardware.power_limit_w
    wanted_w = float(limits_w[0]) if asked_w is None else asked_w
    off_w = limits_w[np.abs(limits_w - wanted_w) > LIMIT_TOLERANCE_W]
    if not len(off_w):
        return []
    expected = f"{wanted_w:g} W at its start" if asked_w is None else f"{wanted_w:g} W asked for"
    detail = (
        f"the enforced limit of {gpu.device} was {off_w[0]:g} W in {len(off_w) / len(limits_w):.0%} of the window, "
        f"against {expected}: somebody else sets it, or another limit is lower"
    )
    return [because("limit_not_held", detail)]


def _clock_reasons(cell: Cell, gpu: GpuSamples, requests: Columns, window: Window) -> list[Reason]:
    """A clock that the power limit holds down is the experiment's own doing; that of a GPU without work is nobody's."""
    asked_mhz = cell.hardware.sm_clock_mhz
    if asked_mhz is None:
        return []
    known = busy(gpu, requests, window) & ~np.isnan(gpu.sm_clock_mhz) & ~gpu.event(GPU_IDLE)
    off = (np.abs(gpu.sm_clock_mhz - asked_mhz) > CLOCK_TOLERANCE_MHZ) & ~gpu.event(POWER_CAP)
    edges = (window.start_s, window.end_s)
    share = gpu.share(off, known, edges)
    if not share > MAX_CLOCK_OFF_RATIO:
        return []
    typical_mhz = float(np.median(gpu.sm_clock_mhz[off & known & (held(gpu.t_s, edges) > 0)]))
    detail = (
        f"the SM clock of {gpu.device} was {typical_mhz:.0f} MHz and not the {asked_mhz} MHz locked in {share:.0%} of "
        "the busy time, and no power limit held it: the GPU does not run there; lock a lower clock"
    )
    return [because("clock_not_held", detail)]
