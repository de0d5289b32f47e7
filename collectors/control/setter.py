"""A way to set a GPU: one file each in `collectors.control.setters`, found by its name."""

import importlib
from typing import Protocol

from collectors.control import driver
from collectors.errors import CollectorError, ControlFailed, ControlRefused, GpuLost, NotPermitted, NotSupported

AUTO = "auto"
SETTERS = ("nvml", "zeusd", "sudo_nvidia_smi")
"""In the order in which `auto` tries them."""


class Setter(Protocol):
    """Sets one GPU, by UUID; all raise `NotPermitted`, `NotSupported`, `GpuLost` or another `CollectorError`."""

    name: str
    acts_late: bool
    """Whether a set may act after its caller has died: where it is not the caller's own system call."""

    def set_power_limit(self, uuid: str, limit_mw: int) -> None:
        """Asks for this limit."""
        ...

    def lock_sm_clock(self, uuid: str, clock_mhz: int) -> None:
        """Locks the SM clock."""
        ...

    def unlock_sm_clock(self, uuid: str) -> None:
        """Takes every lock of the SM clock away, whosever it is."""
        ...

    def outwait(self, uuid: str) -> None:
        """Blocks until what a dead caller has begun has acted or never will."""
        ...


def load(name: str) -> Setter:
    """The setter of this name, or `build()` of a module where the name is a dotted path.

    Raises:
        ControlRefused: There is none.
    """
    if name not in SETTERS and "." not in name:
        raise ControlRefused(f"setter {name!r} is not known; allowed: {AUTO}, {', '.join(SETTERS)}, or a dotted path")
    module = importlib.import_module(name if "." in name else f"collectors.control.setters.{name}")
    setter: Setter = module.build()
    return setter


def choose(name: str, uuid: str) -> Setter:
    """The setter named, or with `auto` the first that may set the GPU, whose lock the caller holds.

    Whether one may is found by setting the limit that stands: NVML has no other way to ask. What goes wrong is taken
    for the way's, so that the next is tried, but for two answers that are the GPU's own: lost, and not supported.

    Raises:
        NotPermitted: None of them may; the message says why each may not.
        CollectorError: The GPU is lost, or one of them went wrong without being refused, and none of the others may.
    """
    refusals, is_refused = [], True
    for each in SETTERS if name == AUTO else (name,):
        setter = load(each)
        try:
            setter.set_power_limit(uuid, driver.limit_mw(uuid))
        except NotSupported:  # nothing can be learnt from a limit that is fixed; a clock may be set all the same
            return setter
        except GpuLost:
            raise
        except CollectorError as error:
            refusals.append(f"{each}: {error}")
            is_refused = is_refused and isinstance(error, (NotPermitted, ControlFailed))
        else:
            return setter
    raise (NotPermitted if is_refused else CollectorError)("; ".join(refusals))
