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


class ControlRefused(CollectorError):
    """A limit or clock may not or cannot be set, or another process controls the GPU; nothing was set."""


class SetByOthers(ControlRefused):
    """Another process controls the GPU, or another user's journal says that a limit or clock may be left on it."""


class NotPermitted(ControlRefused):
    """This process may not set the GPU, by the way it tried."""


class NotSupported(ControlRefused):
    """The GPU or its driver has no such setting."""


class ControlFailed(CollectorError):
    """A GPU did not become what it was set to, or was not restored; what is to be restored stays in its journal."""
