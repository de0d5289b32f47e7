"""Waiting until a GPU is as it was set: the limit as the driver enforces it, the clock as it runs."""

import time
from collections.abc import Callable

from collectors.control import driver
from collectors.control.knobs import WATT_MW
from collectors.errors import ControlFailed, NotSupported

_LOOK_EVERY_S = 0.01
_TIMEOUT_S = 5.0
_CLOCK_TIMEOUT_S = 1.0
_CLOCK_STEP_MHZ = 15
"""Clocks come in steps of 15 MHz (NVIDIA, Volta and later); what lies between is rounded."""


def settled_limit_mw(uuid: str, wanted_mw: int, *, enforced: bool) -> int:
    """The limit that stands, and with `enforced` acts, once it is what was asked for, give or take a watt.

    Raises:
        ControlFailed: Within five seconds it is not; something else holds it.
    """
    read = driver.enforced_limit_mw if enforced else driver.limit_mw
    if not _within(_TIMEOUT_S, lambda: abs(read(uuid) - wanted_mw) <= WATT_MW):
        told = f"the limit that stands is {driver.limit_mw(uuid) / WATT_MW:g} W"
        acting = f"the enforced one {driver.enforced_limit_mw(uuid) / WATT_MW:g} W"
        raise ControlFailed(
            f"GPU {uuid} was set to {wanted_mw / WATT_MW:g} W; after {_TIMEOUT_S:g} s {told} and {acting}: another "
            "limiter acts, or another program sets it (nvidia-smi -q -d POWER tells all limits)"
        )
    return read(uuid)


def settled_clock_mhz(uuid: str, wanted_mhz: int | None) -> int | None:
    """The SM clock that was reached; None where the GPU tells none.

    An idle GPU, or one at its power limit, may stay below a lock for good; none may stay above it.

    Raises:
        ControlFailed: It runs faster than the lock allows.
    """
    try:
        if wanted_mhz is not None and not _within(
            _CLOCK_TIMEOUT_S, lambda: abs(driver.sm_clock_mhz(uuid) - wanted_mhz) <= _CLOCK_STEP_MHZ
        ):
            reached_mhz = driver.sm_clock_mhz(uuid)
            if reached_mhz > wanted_mhz + _CLOCK_STEP_MHZ:
                raise ControlFailed(f"GPU {uuid} was locked to {wanted_mhz} MHz and runs at {reached_mhz} MHz")
        return driver.sm_clock_mhz(uuid)
    except NotSupported:
        return None


def _within(timeout_s: float, settled: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not settled():
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True
