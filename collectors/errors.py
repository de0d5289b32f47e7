"""What goes wrong between us and the hardware."""


class CollectorError(RuntimeError):
    """The hardware could not be read or set."""


class DriverMissing(CollectorError):
    """There is no NVIDIA driver on this machine, or it cannot be used."""


class GpuLost(CollectorError):
    """A GPU fell off the bus or does not answer any more."""


class UnknownGpu(CollectorError):
    """An id names no GPU of this machine, or more than one."""


class MemoryHeld(CollectorError):
    """A GPU's memory did not come back."""
