"""The contract of a setter, which sets one GPU, and the choice of one.

A setter is one file in `collectors.control.setters`, or a module of the user, with a function `build() -> Setter`.
"""

import importlib
from typing import Protocol

from collectors.control import driver
from collectors.errors import CollectorError, ControlFailed, ControlRefused, GpuLost, NotPermitted, NotSupported

AUTO = "auto"
SETTERS = ("nvml", "zeusd", "sudo_nvidia_smi")
"""In the order in which `auto` tries them."""


class Setter(Protocol):
    """Sets one GPU, given by UUID. All methods raise `NotPermitted`, `NotSupported`, `GpuLost` or `CollectorError`."""

    name: str
    acts_late: bool
    """Whether a setting may act after its caller has died, because another process makes it."""

    def set_power_limit(self, uuid: str, limit_mw: int) -> None:
        """Set the power limit."""
        ...

    def lock_sm_clock(self, uuid: str, clock_mhz: int) -> None:
        """Lock the SM clock."""
        ...

    def unlock_sm_clock(self, uuid: str) -> None:
        """Remove every lock of the SM clock, also those of others."""
        ...

    def outwait(self, uuid: str) -> None:
        """Block until settings that a dead caller began have acted or can no longer act."""
        ...


def load(name: str) -> Setter:
    """Return the setter of this name, or that of the module if the name is a dotted path.

    Raises:
        ControlRefused: There is none.
    """
    if name not in SETTERS and "." not in name:
        raise ControlRefused(f"setter {name!r} is not known; allowed: {AUTO}, {', '.join(SETTERS)}, or a dotted path")
    module = importlib.import_module(name if "." in name else f"collectors.control.setters.{name}")
    setter: Setter = module.build()
    return setter


def choose(name: str, uuid: str) -> Setter:
    """Return the named setter, or with `auto` the first that may set the GPU, whose lock the caller holds.

    NVML can test a permission only by setting something, so the present limit is set again. Any error means that the
    next setter is tried, except a lost GPU and a setting that the GPU does not have.

    Raises:
        NotPermitted: No setter may; the message has the reason of each.
        CollectorError: The GPU is lost, or a setter failed for another reason and no other may set the GPU.
    """
    refusals, all_refused = [], True
    for each in SETTERS if name == AUTO else (name,):
        setter = load(each)
        try:
            setter.set_power_limit(uuid, driver.limit_mw(uuid))
        except NotSupported:  # the limit is fixed, so the permission cannot be tested; a clock may still be set
            return setter
        except GpuLost:
            raise
        except CollectorError as error:
            refusals.append(f"{each}: {error}")
            all_refused = all_refused and isinstance(error, (NotPermitted, ControlFailed))
        else:
            return setter
    raise (NotPermitted if all_refused else CollectorError)("; ".join(refusals))
