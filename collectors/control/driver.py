"""What the driver says of a GPU's limit and clocks. NVML must be open (`collectors.nvml_devices.Nvml`)."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pynvml

from collectors.control.knobs import WATT_MW
from collectors.errors import CollectorError, ControlFailed, ControlRefused, GpuLost, NotPermitted, NotSupported
from collectors.nvml_devices import Gpu, Nvml

_KINDS: dict[int, type[CollectorError]] = {
    pynvml.NVML_ERROR_NO_PERMISSION: NotPermitted,
    pynvml.NVML_ERROR_NOT_SUPPORTED: NotSupported,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: NotSupported,
    pynvml.NVML_ERROR_INVALID_ARGUMENT: ControlRefused,
    pynvml.NVML_ERROR_GPU_IS_LOST: GpuLost,
    pynvml.NVML_ERROR_RESET_REQUIRED: GpuLost,
}
_LOOK_EVERY_S = 0.01
_TIMEOUT_S = 5.0
_CLOCK_TIMEOUT_S = 1.0
_CLOCK_STEP_MHZ = 15
"""Clocks come in steps of 15 MHz (NVIDIA, Volta and later); what lies between is rounded."""


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turns the driver's errors into ours, saying what was asked."""
    try:
        yield
    except pynvml.NVMLError as error:
        kind = _KINDS.get(error.value, CollectorError)
        raise kind(f"{what}: the driver says {str(error).lower()}") from error


def handle(uuid: str) -> Any:
    """The driver's handle of a GPU."""
    with asking(f"GPU {uuid}"):
        return pynvml.nvmlDeviceGetHandleByUUID(uuid)


def whole_gpus(nvml: Nvml, ids: Sequence[str | int]) -> tuple[Gpu, ...]:
    """The GPUs that ids name, each once, in order of their UUIDs.

    Raises:
        ControlRefused: One is divided by MIG: limit and clocks are the whole GPU's, and so other users'.
        CollectorError: One is not known or does not answer.
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
    """Whether MIG is on."""
    try:
        with asking(f"the MIG mode of {uuid}"):
            return bool(pynvml.nvmlDeviceGetMigMode(handle(uuid))[0])
    except NotSupported:
        return False


def limit_mw(uuid: str) -> int:
    """The limit that was asked for last."""
    with asking(f"the power limit of {uuid}"):
        return int(pynvml.nvmlDeviceGetPowerManagementLimit(handle(uuid)))


def enforced_limit_mw(uuid: str) -> int:
    """The least of all limits that act."""
    with asking(f"the enforced power limit of {uuid}"):
        return int(pynvml.nvmlDeviceGetEnforcedPowerLimit(handle(uuid)))


def default_limit_mw(uuid: str) -> int:
    """The limit that a restart brings back."""
    with asking(f"the default power limit of {uuid}"):
        return int(pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle(uuid)))


def limit_range_w(uuid: str) -> tuple[float, float]:
    """Least and most that the limit may be."""
    with asking(f"the range of the power limit of {uuid}"):
        least, most = pynvml.nvmlDeviceGetPowerManagementLimitConstraints(handle(uuid))
    return least / WATT_MW, most / WATT_MW


def sm_clock_mhz(uuid: str) -> int:
    """The clock it runs at now."""
    with asking(f"the SM clock of {uuid}"):
        return int(pynvml.nvmlDeviceGetClockInfo(handle(uuid), pynvml.NVML_CLOCK_SM))


def sm_clock_range_mhz(uuid: str) -> tuple[int, int]:
    """Least and most that the SM clock may be locked to, at the highest memory clock."""
    with asking(f"the clocks of {uuid}"):
        device = handle(uuid)
        memory_mhz = max(pynvml.nvmlDeviceGetSupportedMemoryClocks(device))
        clocks_mhz = pynvml.nvmlDeviceGetSupportedGraphicsClocks(device, memory_mhz)
    return min(clocks_mhz), max(clocks_mhz)


def pci_address(uuid: str) -> tuple[int, int, int]:
    """Domain, bus and device: the same GPU's in every container of the host."""
    with asking(f"the PCI address of {uuid}"):
        found = pynvml.nvmlDeviceGetPciInfo(handle(uuid))
    return int(found.domain), int(found.bus), int(found.device)


def energy_mj(uuid: str) -> int:
    """The total-energy counter."""
    with asking(f"the energy counter of {uuid}"):
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle(uuid)))


def instant_power_mw(uuid: str) -> int:
    """The instantaneous power, which older GPUs lack."""
    with asking(f"the instantaneous power of {uuid}"):
        found = pynvml.nvmlDeviceGetFieldValues(handle(uuid), [pynvml.NVML_FI_DEV_POWER_INSTANT])[0]
        if found.nvmlReturn != pynvml.NVML_SUCCESS:
            raise pynvml.NVMLError(found.nvmlReturn)
        return int(found.value.uiVal)


def settled_limit_mw(uuid: str, wanted_mw: int, *, enforced: bool) -> int:
    """The limit that stands, and with `enforced` acts, once it is what was asked for, give or take a watt.

    Raises:
        ControlFailed: Within five seconds it is not; something else holds it.
    """
    read = enforced_limit_mw if enforced else limit_mw
    if not _within(_TIMEOUT_S, lambda: abs(read(uuid) - wanted_mw) <= WATT_MW):
        told = f"the limit that stands is {limit_mw(uuid) / WATT_MW:g} W"
        acting = f"the enforced one {enforced_limit_mw(uuid) / WATT_MW:g} W"
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
            _CLOCK_TIMEOUT_S, lambda: abs(sm_clock_mhz(uuid) - wanted_mhz) <= _CLOCK_STEP_MHZ
        ):
            reached_mhz = sm_clock_mhz(uuid)
            if reached_mhz > wanted_mhz + _CLOCK_STEP_MHZ:
                raise ControlFailed(f"GPU {uuid} was locked to {wanted_mhz} MHz and runs at {reached_mhz} MHz")
        return sm_clock_mhz(uuid)
    except NotSupported:
        return None


def _within(timeout_s: float, settled: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not settled():
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True
