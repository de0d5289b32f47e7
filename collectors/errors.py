"""Errors of reading and setting the hardware."""


class CollectorError(RuntimeError):
    """The hardware could not be read or set."""


class DriverMissing(CollectorError):
    """There is no NVIDIA driver on this machine, or it cannot be used."""


class GpuLost(CollectorError):
    """A GPU is off the bus or no longer answers."""


class UnknownGpu(CollectorError):
    """An id matches no GPU of this machine, or more than one."""


class MemoryHeld(CollectorError):
    """The memory of a GPU was not freed in time."""


class ControlRefused(CollectorError):
    """Nothing was set: a limit or clock is not allowed or not possible, or another process controls the GPU."""


class SetByOthers(ControlRefused):
    """Another process controls the GPU, or the journal of another user says that a setting may be left on it."""


class NotPermitted(ControlRefused):
    """This process may not set the GPU with the setter that it tried."""


class NotSupported(ControlRefused):
    """The GPU or its driver has no such setting."""


class ControlFailed(CollectorError):
    """A GPU did not take a setting or was not restored; its journal keeps what must be restored."""
