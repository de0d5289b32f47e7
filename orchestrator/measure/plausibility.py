"""Whether a sensor can be believed: a counter that moves forwards, power that a GPU can have."""

from collections.abc import Sequence

import numpy as np

from orchestrator.measure.gpu_energy import GpuEnergy
from orchestrator.measure.reasons import because
from orchestrator.measure.samples import GpuSamples
from orchestrator.measure.thresholds import (
    MAX_COUNTER_STAND_S,
    MAX_ODD_POWER_RATIO,
    MAX_POWER_TO_BOARD,
    MIN_POWER_W,
)
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec


def counter_reasons(gpus: Sequence[GpuEnergy], window: Window) -> tuple[Reason, ...]:
    """Why a counter is not believed; empty where all are, and of GPUs that have none."""
    edges = (window.start_s, window.end_s)
    found: dict[str, Reason] = {}
    for gpu in gpus:
        falls_s = gpu.falls_within(edges)
        if falls_s:
            detail = (
                f"the energy counter of {gpu.device} fell, first at {falls_s[0][1]:.3g} s; was the driver loaded again?"
            )
            found.setdefault("counter_backwards", because("counter_backwards", detail))
        stands_s = gpu.counter_stands_s(edges)
        if stands_s > MAX_COUNTER_STAND_S:
            detail = f"the energy counter of {gpu.device} stood still for {stands_s:.3g} s; it is not to be believed"
            found.setdefault("counter_stuck", because("counter_stuck", detail))
    return tuple(found.values())


def power_reasons(cell: Cell, gpus: Sequence[GpuSamples], window: Window) -> tuple[Reason, ...]:
    """Why power samples are not believed; empty if they are."""
    edges = (window.start_s, window.end_s)
    for gpu in gpus:
        known = ~np.isnan(gpu.power_w)
        low = gpu.power_w <= MIN_POWER_W
        most_w = MAX_POWER_TO_BOARD * _board_limit_w(gpu, cell)
        for odd, what in ((low, f"{MIN_POWER_W:g} W or less"), (gpu.power_w > most_w, f"above {most_w:g} W")):
            share = gpu.share(odd, known, edges)
            if share > MAX_ODD_POWER_RATIO:
                detail = (
                    f"{share:.0%} of the power samples of {gpu.device} are {what}; the sensor is not to be believed"
                )
                return (because("power_implausible", detail),)
    return ()


def _board_limit_w(gpu: GpuSamples, cell: Cell) -> float:
    """The most that the GPU's limit may be, as far as it is known: the preset's, or one that was enforced; else NaN."""
    preset_w = cell.hardware.max_power_limit_w if isinstance(cell.hardware, HardwareSpec) else np.nan
    return float(np.fmax.reduce([preset_w, *gpu.power_limit_w]))
