"""Setter `nvml`: through NVML in this process, which needs root or CAP_SYS_ADMIN."""

import pynvml

from collectors.control.driver import control_errors, handle


class NvmlSetter:
    """See `Setter`. NVML must be open."""

    name = "nvml"
    acts_late = False

    def set_power_limit(self, uuid: str, limit_mw: int) -> None:
        """Set the power limit."""
        with control_errors(f"power limit {limit_mw / 1000:g} W of {uuid}"):
            pynvml.nvmlDeviceSetPowerManagementLimit(handle(uuid), limit_mw)

    def lock_sm_clock(self, uuid: str, clock_mhz: int) -> None:
        """Lock the SM clock."""
        with control_errors(f"SM clock {clock_mhz} MHz of {uuid}"):
            pynvml.nvmlDeviceSetGpuLockedClocks(handle(uuid), clock_mhz, clock_mhz)

    def unlock_sm_clock(self, uuid: str) -> None:
        """Remove the lock."""
        with control_errors(f"unlocking the SM clock of {uuid}"):
            pynvml.nvmlDeviceResetGpuLockedClocks(handle(uuid))

    def outwait(self, uuid: str) -> None:
        """Return at once: a process in a system call has not died."""


def build() -> NvmlSetter:
    """Return this setter."""
    return NvmlSetter()
