"""Whether power limit and locked clock were what the cell asked for, and whether the limit did anything."""

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.measure.clocks import GPU_IDLE, POWER_CAP, busy
from orchestrator.measure.columns import Columns, Floats
from orchestrator.measure.reasons import because
from orchestrator.measure.samples import GpuSamples, held
from orchestrator.measure.thresholds import CLOCK_TOLERANCE_MHZ, LIMIT_AGE_S, LIMIT_TOLERANCE_W, MAX_CLOCK_OFF_RATIO
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec


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
