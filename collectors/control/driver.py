"""NVML's reading of a GPU's limits and clocks. NVML must be open (`collectors.nvml_devices.Nvml`).

Errors are those of `collectors.nvml_errors` with ``control``: `NotSupported`, `NotPermitted`, `GpuLost` and others.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pynvml

from collectors.control.knobs import WATT_MW
from collectors.errors import ControlFailed, ControlRefused, NotSupported
from collectors.nvml_devices import Gpu, Nvml
from collectors.nvml_errors import nvml_errors

_POLL_S = 0.01
_TIMEOUT_S = 5.0
_CLOCK_TIMEOUT_S = 1.0
_CLOCK_STEP_MHZ = 15
"""Clocks have steps of 15 MHz (NVIDIA, Volta and later); other values are rounded."""

control_errors = partial(nvml_errors, control=True)


def handle(uuid: str) -> Any:
    """Return NVML's handle of a GPU."""
    with control_errors(f"GPU {uuid}"):
        return pynvml.nvmlDeviceGetHandleByUUID(uuid)


def whole_gpus(nvml: Nvml, ids: Sequence[str | int]) -> tuple[Gpu, ...]:
    """Return the GPUs that ids name, each once, ordered by UUID.

    Raises:
        ControlRefused: MIG is on: limit and clocks are the whole GPU's, which other users may share.
        CollectorError: A GPU is not known or does not answer.
    """
    gpus = {gpu.uuid: gpu for gpu in nvml.resolve(ids)}
    for gpu in gpus.values():
        if gpu.mig or mig_enabled(gpu.uuid):
            raise ControlRefused(
                f"GPU {gpu.index} ({gpu.uuid}) is divided by MIG: power limit and clocks are the whole GPU's; "
                "turn MIG off (nvidia-smi -mig 0) or leave hardware.power_limit_w and hardware.sm_clock_mhz null"
            )
    return tuple(gpus[uuid] for uuid in sorted(gpus))


def mig_enabled(uuid: str) -> bool:
    """Return whether MIG is on."""
    try:
        with control_errors(f"the MIG mode of {uuid}"):
            return bool(pynvml.nvmlDeviceGetMigMode(handle(uuid))[0])
    except NotSupported:
        return False


def limit_mw(uuid: str) -> int:
    """Return the power limit that was set last."""
    with control_errors(f"the power limit of {uuid}"):
        return int(pynvml.nvmlDeviceGetPowerManagementLimit(handle(uuid)))


def enforced_limit_mw(uuid: str) -> int:
    """Return the lowest of all power limits that act."""
    with control_errors(f"the enforced power limit of {uuid}"):
        return int(pynvml.nvmlDeviceGetEnforcedPowerLimit(handle(uuid)))


def default_limit_mw(uuid: str) -> int:
    """Return the power limit after a restart of the driver."""
    with control_errors(f"the default power limit of {uuid}"):
        return int(pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle(uuid)))


def limit_range_w(uuid: str) -> tuple[float, float]:
    """Return the lowest and the highest power limit that can be set."""
    with control_errors(f"the range of the power limit of {uuid}"):
        lowest, highest = pynvml.nvmlDeviceGetPowerManagementLimitConstraints(handle(uuid))
    return lowest / WATT_MW, highest / WATT_MW


def sm_clock_mhz(uuid: str) -> int:
    """Return the present SM clock."""
    with control_errors(f"the SM clock of {uuid}"):
        return int(pynvml.nvmlDeviceGetClockInfo(handle(uuid), pynvml.NVML_CLOCK_SM))


def sm_clock_range_mhz(uuid: str) -> tuple[int, int]:
    """Return the lowest and the highest SM clock that can be locked, at the highest memory clock."""
    with control_errors(f"the clocks of {uuid}"):
        device = handle(uuid)
        memory_mhz = max(pynvml.nvmlDeviceGetSupportedMemoryClocks(device))
        clocks_mhz = pynvml.nvmlDeviceGetSupportedGraphicsClocks(device, memory_mhz)
    return min(clocks_mhz), max(clocks_mhz)


def pci_address(uuid: str) -> tuple[int, int, int]:
    """Return PCI domain, bus and device, which are the same in every container of the host."""
    with control_errors(f"the PCI address of {uuid}"):
        info = pynvml.nvmlDeviceGetPciInfo(handle(uuid))
    return int(info.domain), int(info.bus), int(info.device)


def settled_limit_mw(uuid: str, set_mw: int, *, enforced: bool) -> int:
    """Wait until the power limit, or with ``enforced`` the enforced one, is within a watt of ``set_mw``; return it.

    Raises:
        ControlFailed: It is not within five seconds: another limiter or program acts.
    """
    read = enforced_limit_mw if enforced else limit_mw
    if not _wait_until(lambda: abs(read(uuid) - set_mw) <= WATT_MW, _TIMEOUT_S):
        raise ControlFailed(
            f"GPU {uuid} was set to {set_mw / WATT_MW:g} W; after {_TIMEOUT_S:g} s the limit is "
            f"{limit_mw(uuid) / WATT_MW:g} W and the enforced one {enforced_limit_mw(uuid) / WATT_MW:g} W: another "
            "limiter acts, or another program sets it (nvidia-smi -q -d POWER lists all limits)"
        )
    return read(uuid)


def settled_clock_mhz(uuid: str, locked_mhz: int | None) -> int | None:
    """Wait up to a second until the SM clock is at its lock; return the clock, None if the GPU reports none.

    An idle GPU, or one at its power limit, may stay below the lock; no GPU may stay above it.

    Raises:
        ControlFailed: The GPU runs faster than the lock.
    """
    try:
        if locked_mhz is not None and not _wait_until(
            lambda: abs(sm_clock_mhz(uuid) - locked_mhz) <= _CLOCK_STEP_MHZ, _CLOCK_TIMEOUT_S
        ):
            clock_mhz = sm_clock_mhz(uuid)
            if clock_mhz > locked_mhz + _CLOCK_STEP_MHZ:
                raise ControlFailed(f"GPU {uuid} was locked to {locked_mhz} MHz and runs at {clock_mhz} MHz")
        return sm_clock_mhz(uuid)
    except NotSupported:
        return None


def _wait_until(settled: Callable[[], bool], timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not settled():
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(_POLL_S)
    return True
