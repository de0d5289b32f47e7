"""One fake GPU, seen from outside the driver: true values, independent of sensors and injected errors."""

import ctypes
import math
import time

from tests.fake_nvml import layout
from tests.fake_nvml.layout import CallClass
from tests.fake_nvml.library import Library
from tests.fake_nvml.terms import Nvml, Shape


class FakeGpu:
    """A handle to read a GPU and to change it. Instants (`…_ns`) are CLOCK_MONOTONIC; 0 is now, or no end."""

    def __init__(self, library: Library, state: "ctypes._Pointer[layout.State]", index: int) -> None:
        self._control = library.control
        self._state = state
        self._gpu = state.contents.gpus[index]
        self.index = index

    @property
    def uuid(self) -> str:
        return self._gpu.uuid.decode()

    @property
    def mig_uuids(self) -> tuple[str, ...]:
        return tuple(mig.uuid.decode() for mig in self._gpu.migs if mig.uuid)

    # ---- memory and processes

    @property
    def memory_total_bytes(self) -> int:
        return self._gpu.memory_total

    @property
    def memory_used_bytes(self) -> int:
        """Memory in use as the second version of NVML's call reports it: the baseline and that of processes."""
        return self._control.fake_nvml_used_bytes(self._state, self.index)

    def set_baseline(self, n_bytes: int) -> None:
        """Set the memory in use that no process holds."""
        self._gpu.memory_baseline = n_bytes

    def hold_memory(self, pid: int, n_bytes: int, *, lives_with_pid: bool = False) -> None:
        """Set the memory of a process; with `lives_with_pid` only until it ends."""
        assert self._control.fake_nvml_hold(self._state, self.index, pid, n_bytes, lives_with_pid) == 0

    def holds_memory(self, pid: int) -> bool:
        return any(process.pid == pid for process in self._gpu.processes)

    def release_memory(self, pid: int) -> None:
        assert self._control.fake_nvml_hold(self._state, self.index, pid, 0, 0) == 0, f"pid {pid} holds nothing"

    # ---- power and energy

    def set_power(
        self, power_w: float, *, amplitude_w: float = 0.0, period_s: float = 0.0, shape: Shape | None = None, at_ns=0
    ) -> None:
        """Set the power from now on, or from an instant not before the last change.

        With an amplitude the power is the mean of a wave, by default a sine. It is clipped at the limit.
        """
        shape = shape if shape is not None else Shape.SINE if amplitude_w else Shape.CONSTANT
        period_ns = round(period_s * 1e9)
        arguments = (self.index, at_ns, power_w, amplitude_w, period_ns, shape)
        assert self._control.fake_nvml_drive(self._state, *arguments) == 0, arguments

    def work(
        self,
        start_ns: int,
        end_ns: int,
        power_w: float,
        *,
        rest_w: float,
        sm_clock_mhz: int = 0,
        utilization_percent: int = 100,
        event_reasons: int = 0,
    ) -> None:
        """Set constant power and clock from start to end, and rest after it.

        If the start is before the last change (a limit was set meanwhile), the work begins at that change.
        """
        arguments = (start_ns, end_ns, power_w, rest_w, sm_clock_mhz, utilization_percent, event_reasons)
        assert self._control.fake_nvml_work(self._state, self.index, *arguments) == 0, arguments

    def power_w(self, at_ns: int = 0) -> float:
        return _remembered(self._control.fake_nvml_power_w(self._state, self.index, at_ns), at_ns)

    def energy_j(self, at_ns: int = 0) -> float:
        """Return the energy since the GPU was made; only the last `layout.KEPT` changes are kept."""
        return _remembered(self._control.fake_nvml_energy_j(self._state, self.index, at_ns), at_ns)

    @property
    def power_limit_w(self) -> float:
        return self._control.fake_nvml_limit_mw(self._state, self.index) / 1000

    @property
    def acting_power_limit_w(self) -> float:
        """The limit that acts; infinite for a cap that does not act."""
        return self._control.fake_nvml_acting_limit_mw(self._state, self.index) / 1000 or math.inf

    def set_power_limit(self, limit_w: float, *, acts: bool = True) -> None:
        """Set the limit without checks, like an operator; with `acts=False` it has no effect."""
        assert self._control.fake_nvml_limit(self._state, self.index, round(limit_w * 1000), acts) == 0

    # ---- clocks, load, temperature

    @property
    def locked_sm_clock_mhz(self) -> tuple[int, int] | None:
        """Lowest and highest; None if it is not locked."""
        return _pair(self._gpu.sm_lock)

    @property
    def locked_memory_clock_mhz(self) -> tuple[int, int] | None:
        return _pair(self._gpu.memory_lock)

    @property
    def persistence(self) -> bool:
        return bool(self._gpu.persistence)

    def set_clock(self, sm_clock_mhz: int) -> None:
        """Set the clock without lock and cap."""
        self._gpu.sm_mhz = sm_clock_mhz

    def set_utilization(self, gpu_percent: int, memory_percent: int = 0) -> None:
        """Set the utilization outside of `work`."""
        self._gpu.utilization_gpu, self._gpu.utilization_memory = gpu_percent, memory_percent

    def set_event_reasons(self, bits: int) -> None:
        """Set bits in addition to that of the software power cap, which is set while the cap binds."""
        self._gpu.event_reasons = bits

    @property
    def temperature_c(self) -> float:
        return self._control.fake_nvml_celsius(self._state, self.index, 0)

    def set_temperature(self, celsius: int) -> None:
        """Set a constant temperature."""
        self._gpu.temperature_c, self._gpu.celsius_per_w = celsius, 0.0

    def warm(self, *, ambient_c: float = 25.0, celsius_per_w: float = 0.07, tau_s: float = 20.0, now_c: float) -> None:
        """Let the temperature follow the power from `now_c` on, with one time constant."""
        assert self._control.fake_nvml_warm(self._state, self.index, ambient_c, celsius_per_w, tau_s, now_c) == 0

    # ---- faults, at once or at a planned instant

    def set_power_reading(self, power_w: float | None, *, at_ns: int = 0, until_ns: int = 0) -> None:
        """Fix the sensor's reading; None ends it. The counter does not change."""
        self._gpu.power_reading_when = (at_ns, until_ns)
        self._gpu.power_reading_mw = -1 if power_w is None else round(power_w * 1000)

    def set_power_gain(self, gain: float) -> None:
        """Set a factor of the sensor's reading; the counter stays exact."""
        self._gpu.power_gain = gain

    def stick_counter(self, *, at_ns: int = 0, until_ns: int = 0) -> None:
        self._gpu.counter_stuck = (at_ns or time.monotonic_ns(), until_ns)

    def free_counter(self) -> None:
        self._gpu.counter_stuck = (0, 0)

    def set_counter(self, start_mj: int, *, wrap_mj: int = 0) -> None:
        """Set the counter's value when the GPU was made, and the value at which it wraps to 0."""
        self._gpu.counter_start_mj, self._gpu.counter_wrap_mj = start_mj, wrap_mj

    def restart_counter(self) -> None:
        """Restart the counter from 0."""
        self._gpu.counter_from_j = self.energy_j()

    def fail(
        self, calls: CallClass, code: Nvml, *, times: int | None = None, at_ns: int = 0, until_ns: int = 0
    ) -> None:
        """Make calls of a class fail: the next `times` or until `mend`, within a time span if given."""
        fault = self._gpu.faults[calls]
        fault.left = -1 if times is None else times
        fault.when = (at_ns, until_ns)
        fault.code = code

    def mend(self, calls: CallClass) -> None:
        fault = self._gpu.faults[calls]
        fault.code, fault.delay_us, fault.when = 0, 0, (0, 0)

    def delay(self, calls: CallClass, delay_ms: float, *, at_ns: int = 0, until_ns: int = 0) -> None:
        """Make calls of a class slow, within a time span if given."""
        self._gpu.faults[calls].when = (at_ns, until_ns)
        self._gpu.faults[calls].delay_us = round(delay_ms * 1000)

    def n_calls(self, calls: CallClass) -> int:
        """Return the number of calls of a class by all processes."""
        return self._gpu.faults[calls].calls


def _pair(lock: int) -> tuple[int, int] | None:
    return (lock >> 32, lock & 0xFFFFFFFF) if lock else None


def _remembered(value: float, at_ns: int) -> float:
    assert not math.isnan(value), f"{at_ns} ns is before the last {layout.KEPT} changes of power, which are kept"
    return value
