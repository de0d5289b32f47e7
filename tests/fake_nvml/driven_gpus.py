"""The fake GPUs of a driven engine: the load that it puts on them, and their limits."""

import math
import os
import time
from collections.abc import Sequence

from orchestrator.engines.simulated.log import Run
from orchestrator.spec.hardware import HardwareSpec
from tests.fake_nvml.fake_gpus import FakeGpu, FakeGpus, Reason

COOLED_C = 3.0
"""A GPU that was too hot stops throttling so many degrees below the threshold."""
HOT_CLOCK_RATIO = 0.5
LOAD_POWER_RATIO = 0.3


def visible_gpus(machine: FakeGpus, count: int) -> tuple[FakeGpu, ...]:
    """Return the GPUs of `CUDA_VISIBLE_DEVICES`, else the first ``count``."""
    ids = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    if not ids:
        return tuple(machine)[:count]
    return tuple(machine[int(each)] if each.isdecimal() else machine.by_uuid(each) for each in ids)[:count]


class DrivenGpus:
    """Equal GPUs that share the work of every iteration."""

    def __init__(
        self, gpus: Sequence[FakeGpu], hardware: HardwareSpec, *, context_w: float, throttles_at_c: float | None
    ) -> None:
        self.gpus = tuple(gpus)
        self._hardware = hardware
        self._rest_w = hardware.idle_power_w + context_w
        self._throttles_at_c = throttles_at_c
        self._is_hot = False

    @property
    def uuids(self) -> tuple[str, ...]:
        return tuple(gpu.uuid for gpu in self.gpus)

    def load(self, pid: int, memory_share: float, load_s: float) -> None:
        """Take memory, until `leave` or the end of the process, and work for ``load_s``."""
        start_ns, idle_w = time.monotonic_ns(), self._hardware.idle_power_w
        power_w = idle_w + LOAD_POWER_RATIO * (self._hardware.default_power_limit_w - idle_w)
        for gpu in self.gpus:
            gpu.hold_memory(pid, round(memory_share * gpu.memory_total_bytes), lives_with_pid=True)
            gpu.work(start_ns, start_ns + max(1, round(load_s * 1e9)), power_w, rest_w=self._rest_w)

    def leave(self, pid: int) -> None:
        """Free the memory and idle; does nothing if nothing was loaded."""
        for gpu in self.gpus:
            if gpu.holds_memory(pid):
                gpu.release_memory(pid)
                gpu.set_power(self._hardware.idle_power_w)

    def limits(self) -> tuple[float, int]:
        """Return the lowest power limit of the GPUs, and the highest clock allowed. Units: W, MHz."""
        spec = self._hardware
        limit_w = min(gpu.acting_power_limit_w for gpu in self.gpus)
        locks = [lock for gpu in self.gpus if (lock := gpu.locked_sm_clock_mhz) is not None]
        clock_mhz = min([spec.max_sm_clock_mhz, *(most for _, most in locks)])
        if self._throttles():
            clock_mhz = min(clock_mhz, round(HOT_CLOCK_RATIO * spec.max_sm_clock_mhz))
        limit_w = spec.max_power_limit_w if math.isinf(limit_w) else limit_w
        return limit_w, max(clock_mhz, spec.min_sm_clock_mhz)

    def work(self, run: Run, energy_j: float) -> None:
        """Work on one iteration; ``energy_j`` is that of all GPUs."""
        start_ns, end_ns = round(run.start_s * 1e9), round(run.end_s * 1e9)
        power_w = energy_j / len(self.gpus) / (run.end_s - run.start_s)
        reasons = Reason.SW_POWER_CAP if run.cost.power_capped else 0
        for gpu in self.gpus:
            gpu.work(
                start_ns,
                end_ns,
                power_w,
                rest_w=self._rest_w,
                sm_clock_mhz=run.cost.sm_clock_mhz,
                event_reasons=reasons | (Reason.SW_THERMAL_SLOWDOWN if self._is_hot else 0),
            )

    def _throttles(self) -> bool:
        if self._throttles_at_c is None:
            return False
        hottest_c = max(gpu.temperature_c for gpu in self.gpus)
        self._is_hot = hottest_c >= self._throttles_at_c - (COOLED_C if self._is_hot else 0.0)
        return self._is_hot
