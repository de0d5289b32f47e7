"""Through the driver's library, by this process: root, or CAP_SYS_ADMIN."""

import pynvml

from collectors.control.driver import asking, handle


class NvmlSetter:
    """Needs NVML to be open."""

    name = "nvml"
    acts_late = False

    def set_power_limit(self, uuid: str, limit_mw: int) -> None:
        """Asks for this limit."""
        with asking(f"power limit {limit_mw / 1000:g} W of {uuid}"):
            pynvml.nvmlDeviceSetPowerManagementLimit(handle(uuid), limit_mw)

    def lock_sm_clock(self, uuid: str, clock_mhz: int) -> None:
        """Locks the SM clock."""
        with asking(f"SM clock {clock_mhz} MHz of {uuid}"):
            pynvml.nvmlDeviceSetGpuLockedClocks(handle(uuid), clock_mhz, clock_mhz)

    def unlock_sm_clock(self, uuid: str) -> None:
        """Takes the lock away."""
        with asking(f"unlocking the SM clock of {uuid}"):
            pynvml.nvmlDeviceResetGpuLockedClocks(handle(uuid))

    def outwait(self, uuid: str) -> None:
        """Nothing to wait for: a process in a system call has not ended."""


def build() -> NvmlSetter:
    """This setter."""
    return NvmlSetter()
