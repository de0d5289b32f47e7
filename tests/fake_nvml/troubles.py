"""Faults of the sensors of an engine's GPUs during a cell."""

from typing import Literal

from tests.fake_nvml.driven_gpus import DrivenGpus
from tests.fake_nvml.fake_gpu import FakeGpu
from tests.fake_nvml.fake_gpus import GIB, Nvml, Reason
from tests.fake_nvml.layout import CallClass

Trouble = Literal[
    "none",
    "no_permission",
    "power_not_supported",
    "counter_not_supported",
    "gpu_lost",
    "time_out",
    "slow_reads",
    "zero_watts",
    "stuck_counter",
    "wrapping_counter",
    "miscalibrated",
    "thermal",
    "foreign_process",
]

FOREIGN_PID = 1
"""Pid of a process that exists and is not the engine's."""

WRAPS_AFTER_MJ = 300_000
SLOW_MS = 150
GAIN_OFF = 1.15
_CALLS: dict[str, tuple[CallClass, ...]] = {
    "no_permission": (CallClass.POWER, CallClass.ENERGY),
    "power_not_supported": (CallClass.POWER,),
    "counter_not_supported": (CallClass.ENERGY,),
    "gpu_lost": (CallClass.DEVICE,),
    "time_out": (CallClass.POWER, CallClass.ENERGY),
    "slow_reads": (CallClass.POWER,),
}
_CODES = {
    "no_permission": Nvml.NO_PERMISSION,
    "power_not_supported": Nvml.NOT_SUPPORTED,
    "counter_not_supported": Nvml.NOT_SUPPORTED,
    "gpu_lost": Nvml.GPU_IS_LOST,
    "time_out": Nvml.TIMEOUT,
}


def begin_trouble(gpus: DrivenGpus, trouble: Trouble, from_ns: int, until_ns: int) -> None:
    """Plan a fault between two instants of CLOCK_MONOTONIC (0: no end); the last four of `Trouble` begin at once."""
    for gpu in gpus.gpus:
        for calls in _CALLS.get(trouble, ()):
            if trouble in _CODES:
                gpu.fail(calls, _CODES[trouble], at_ns=from_ns, until_ns=until_ns)
            else:
                gpu.delay(calls, SLOW_MS, at_ns=from_ns, until_ns=until_ns)
        if trouble == "zero_watts":
            gpu.set_power_reading(0, at_ns=from_ns, until_ns=until_ns)
        elif trouble == "stuck_counter":
            gpu.stick_counter(at_ns=from_ns, until_ns=until_ns)
        else:
            _begin_at_once(gpu, trouble)


def end_trouble(gpus: DrivenGpus, trouble: Trouble) -> None:
    """Undo `begin_trouble` and nothing else; a counter that has wrapped continues as if it had not."""
    for gpu in gpus.gpus:
        for calls in _CALLS.get(trouble, ()):
            gpu.mend(calls)
        if trouble == "zero_watts":
            gpu.set_power_reading(None)
        elif trouble == "stuck_counter":
            gpu.free_counter()
        elif trouble == "wrapping_counter":
            gpu.set_counter(0)
        elif trouble == "miscalibrated":
            gpu.set_power_gain(1.0)
        elif trouble == "thermal":
            gpu.set_event_reasons(0)
        elif trouble == "foreign_process":
            gpu.release_memory(FOREIGN_PID)


def _begin_at_once(gpu: FakeGpu, trouble: Trouble) -> None:
    if trouble == "wrapping_counter":
        gpu.set_counter(0, wrap_mj=round(gpu.energy_j() * 1000) + WRAPS_AFTER_MJ)
    elif trouble == "miscalibrated":
        gpu.set_power_gain(GAIN_OFF)
    elif trouble == "thermal":
        gpu.set_event_reasons(Reason.HW_THERMAL_SLOWDOWN)
    elif trouble == "foreign_process":
        gpu.hold_memory(FOREIGN_PID, GIB)
