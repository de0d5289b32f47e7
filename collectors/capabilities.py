"""What can be measured and set on this machine."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pynvml

from collectors.control import driver
from collectors.control.checks import permission_advice
from collectors.control.journal import prepare_state_dir
from collectors.control.knobs import Knobs
from collectors.control.lock import GpuLock
from collectors.control.setter import choose
from collectors.errors import CollectorError, NotPermitted
from collectors.nvml_columns import Columns, columns_of
from collectors.nvml_devices import Gpu, Nvml
from collectors.nvml_errors import nvml_errors
from collectors.sources import rapl

RAPL = Path("/sys/class/powercap")
NOT_TRIED = "not tried: it requires setting the present limit again"
_ROLE = "doctor"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCapabilities:
    """What can be read and set on one GPU; None if it is not supported or not known."""

    uuid: str
    index: int
    name: str
    mig: bool
    energy_counter: bool
    instant_power: bool
    power_limit_w: float | None
    enforced_power_limit_w: float | None
    default_power_limit_w: float | None
    power_limit_range_w: tuple[float, float] | None
    sm_clock_range_mhz: tuple[int, int] | None
    setter: str | None
    """Name of the setter with which this process may set it."""
    setter_refused: str | None
    """Why no setter may set it and what would grant the permission, or `NOT_TRIED`."""
    processes: tuple[int, ...]
    """Pids of other processes that compute on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What can be read and set on this machine."""

    driver: str | None
    driver_missing: str | None
    gpus: tuple[GpuCapabilities, ...]
    gpus_lost: int
    rapl: tuple[str, ...]
    """CPU domains whose energy counter can be read."""
    rapl_missing: str | None


def survey(*, setter: str | None = None, state_dir: Path | None = None, rapl: Path = RAPL) -> Capabilities:
    """Return what can be read and set on this machine; change nothing.

    Args:
        setter: Name of the setter to try, `auto` for any; by default none is called. NVML can test a permission only by
            setting something, so the present limit is set again. A GPU that another process controls is not tried.
        state_dir: Folder of journals and locks; by default that of the node.
        rapl: Folder of the CPU energy counters.
    """
    domains, rapl_missing = _rapl(rapl)
    try:
        with Nvml() as nvml:
            gpus = nvml.gpus_left()
            return Capabilities(
                driver=pynvml.nvmlSystemGetDriverVersion(),
                driver_missing=None,
                gpus=tuple(_gpu(nvml, gpu, setter, state_dir) for gpu in gpus),
                gpus_lost=len(nvml.indices()) - len(gpus),
                rapl=domains,
                rapl_missing=rapl_missing,
            )
    except CollectorError as error:
        return Capabilities(
            driver=None, driver_missing=str(error), gpus=(), gpus_lost=0, rapl=domains, rapl_missing=rapl_missing
        )


def _gpu(nvml: Nvml, gpu: Gpu, setter: str | None, state_dir: Path | None) -> GpuCapabilities:
    uuid = gpu.uuid
    limit_mw, enforced_mw = _or_none(driver.limit_mw, uuid), _or_none(driver.enforced_limit_mw, uuid)
    default_mw = _or_none(driver.default_limit_mw, uuid)
    columns = _or_none(_columns, uuid) or Columns({}, {}, {})
    permitted, refused = _setter(nvml, uuid, setter, state_dir)
    processes = _or_none(nvml.compute_processes, uuid) or ()
    return GpuCapabilities(
        uuid=uuid,
        index=gpu.index,
        name=gpu.name,
        mig=bool(_or_none(driver.mig_enabled, uuid)),
        energy_counter="energy_j" in {*columns.fields, *columns.calls},
        instant_power="power_w" in columns.fields,
        power_limit_w=None if limit_mw is None else limit_mw / 1000,
        enforced_power_limit_w=None if enforced_mw is None else enforced_mw / 1000,
        default_power_limit_w=None if default_mw is None else default_mw / 1000,
        power_limit_range_w=_or_none(driver.limit_range_w, uuid),
        sm_clock_range_mhz=_or_none(driver.sm_clock_range_mhz, uuid),
        setter=permitted,
        setter_refused=refused,
        processes=tuple(process.pid for process in processes if process.pid != os.getpid()),
    )


def _setter(nvml: Nvml, uuid: str, name: str | None, state_dir: Path | None) -> tuple[str | None, str | None]:
    """Return the name of the setter that may set it, or why there is none."""
    try:
        driver.whole_gpus(nvml, [uuid])
        lock = GpuLock.take(prepare_state_dir(state_dir), uuid, _ROLE)
    except CollectorError as error:
        return None, str(error)
    try:
        return (None, NOT_TRIED) if name is None else (choose(name, uuid).name, None)
    except NotPermitted as error:
        return None, permission_advice(uuid, Knobs(), error)
    except CollectorError as error:
        return None, str(error)
    finally:
        lock.release()


def _columns(uuid: str) -> Columns:
    with nvml_errors(f"the sensors of {uuid}"):
        return columns_of(driver.handle(uuid))


def _or_none(read: Callable[[str], _T], uuid: str) -> _T | None:
    """Return what is read; None if the GPU or its driver does not support it."""
    try:
        return read(uuid)
    except CollectorError:
        return None


def _rapl(root: Path) -> tuple[tuple[str, ...], str | None]:
    """Return the names of the domains whose counter can be read, or why there are none."""
    zones = sorted(root.glob("*/energy_uj"))
    readable = tuple(zone.parent / "name" for zone in zones if os.access(zone, os.R_OK))
    if readable:
        return tuple(f"{path.parent.name} ({path.read_text().strip()})" for path in readable), None
    if zones:
        return (), f"{zones[0]} is readable by root only: needs root, CAP_DAC_READ_SEARCH, or chmod -R a+r {root}"
    return (), f"{root} has no energy counters: a virtual machine, or the kernel module intel_rapl_msr is not loaded"


def cpu_counters_readable() -> bool:
    """Return whether this process may read the energy counters of all CPUs; False if there are none."""
    try:
        with rapl.build(()) as source:
            return all("energy_j" in source.read(device).values for device in source.devices)
    except CollectorError:
        return False
