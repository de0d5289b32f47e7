"""The NVIDIA GPUs of this machine: ids, memory, processes and fixed facts.

`Nvml` holds the library open. MIG instances are found by id too; power, energy and clocks are always the whole GPU's.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

import pynvml

from collectors.errors import CollectorError, DriverMissing, GpuLost, UnknownGpu
from collectors.nvml_columns import Columns, columns_of
from collectors.nvml_errors import nvml_errors

_MILLI = 1000
_WHOLE_GPU_RATIO = 0.9
"""Share of a GPU's memory. One MIG instance over the whole GPU has at least 97 %, the next smaller one about half."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One physical GPU, or one MIG instance on it."""

    uuid: str
    """Of the physical GPU."""
    index: int
    """In NVML's order, which is the order of the PCI bus."""
    name: str
    memory_total_bytes: int
    """Of the MIG instance, if this is one."""
    mig_uuid: str | None = None

    @property
    def mig(self) -> bool:
        """Whether this is a MIG instance."""
        return self.mig_uuid is not None


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on a GPU."""

    pid: int
    used_bytes: int | None
    """None if the driver does not report it."""


class Nvml:
    """NVML, open for the length of a `with` block.

    Every method raises `GpuLost` for a GPU that is gone and `CollectorError` for any other error of NVML.
    """

    def __enter__(self) -> Self:
        """Open the library.

        Raises:
            DriverMissing: No driver, or one that cannot be used.
        """
        open_nvml()
        return self

    def __exit__(self, *_exception: object) -> None:
        close_nvml()

    def gpus(self) -> tuple[Gpu, ...]:
        """Return all GPUs that this process may open; `CUDA_VISIBLE_DEVICES` does not matter to NVML."""
        return tuple(self._gpu_at(index) for index in self.indices())

    def gpus_left(self) -> tuple[Gpu, ...]:
        """Return the GPUs that are not lost."""
        left = []
        for index in self.indices():
            with suppress(GpuLost):
                left.append(self._gpu_at(index))
        return tuple(left)

    def indices(self) -> tuple[int, ...]:
        """Return the indices of all GPUs, lost ones too, except those that a batch system denies to this process."""
        return tuple(index for index in range(self._count()) if _may_be_opened(index))

    def resolve(self, ids: Sequence[str | int]) -> tuple[Gpu, ...]:
        """Return the GPUs that ids of Ray or of `CUDA_VISIBLE_DEVICES` name, in the order of the ids.

        An id is an index (an int or digits), or a UUID or the beginning of one: "GPU-…" or "MIG-…". Ray counts in
        NVML's order; CUDA does so only with `CUDA_DEVICE_ORDER=PCI_BUS_ID`.

        Raises:
            UnknownGpu: An id matches no GPU or more than one.
        """
        return tuple(self._resolve(str(each)) for each in ids)

    def memory_used_bytes(self, uuid: str) -> int:
        """Return the memory in use on a GPU or MIG instance, the driver's own included, as `nvidia-smi` shows it."""
        with nvml_errors(f"the memory of {uuid}"):
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            return int(pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).used)

    def compute_processes(self, uuid: str) -> tuple[GpuProcess, ...]:
        """Return the processes that compute on a GPU. Pids are the host's; in a container the list is often empty."""
        with nvml_errors(f"the processes on {uuid}"):
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        return tuple(GpuProcess(each.pid, each.usedGpuMemory) for each in processes)

    def _resolve(self, gpu_id: str) -> Gpu:
        """Open no other GPU if possible: another one may be lost."""
        if gpu_id.isdecimal():
            return self._gpu_at(int(gpu_id)) if int(gpu_id) < self._count() else self._match_prefix(gpu_id)
        if not gpu_id.startswith(("GPU-", "MIG-")):
            raise UnknownGpu(f"GPU id {gpu_id!r}: allowed are an index, GPU-<uuid> and MIG-<uuid>")
        with nvml_errors(f"GPU {gpu_id}"):
            try:
                handle = pynvml.nvmlDeviceGetHandleByUUID(gpu_id)
            except (pynvml.NVMLError_NotFound, pynvml.NVMLError_InvalidArgument):
                return self._match_prefix(gpu_id)
            return _instance(handle) if gpu_id.startswith("MIG-") else _gpu(handle)

    def _match_prefix(self, prefix: str) -> Gpu:
        known = self.gpus()
        if prefix.startswith("MIG-"):
            known = tuple(instance for gpu in known for instance in mig_instances(gpu))
        matches = [gpu for gpu in known if (gpu.mig_uuid or gpu.uuid).startswith(prefix)]
        if len(matches) == 1:
            return matches[0]
        listed = ", ".join(gpu.mig_uuid or f"{gpu.index} ({gpu.uuid})" for gpu in known) or "none"
        raise UnknownGpu(f"GPU id {prefix!r} matches {len(matches)} of this machine's GPUs: {listed}")

    def _count(self) -> int:
        with nvml_errors("the number of GPUs"):
            return int(pynvml.nvmlDeviceGetCount())

    def _gpu_at(self, index: int) -> Gpu:
        with nvml_errors(f"GPU {index}"):
            return _gpu(pynvml.nvmlDeviceGetHandleByIndex(index))


def open_nvml() -> None:
    """Open the library; it counts how often.

    Raises:
        DriverMissing: No driver, or one that cannot be used.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise DriverMissing(f"NVML cannot be opened: {error}") from error


def close_nvml() -> None:
    """Close the library, unless it was closed because the driver was unloaded."""
    with suppress(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlShutdown()


def gpu_names() -> tuple[str, ...]:
    """Return product names in NVML's order, without lost GPUs; empty if there is no usable driver."""
    try:
        with Nvml() as nvml:
            return tuple(gpu.name for gpu in nvml.gpus_left())
    except CollectorError:
        return ()


def mig_instances(gpu: Gpu) -> list[Gpu]:
    """Return the MIG instances of a GPU that this process can see; a container sees only its own.

    Raises:
        CollectorError: The GPU does not answer.
    """
    instances = []
    with nvml_errors(f"the MIG instances of {gpu.uuid}"):
        parent = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        for slot in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(parent)):
            try:
                instances.append(_instance(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, slot)))
            except pynvml.NVMLError_NotFound:
                continue  # slots are not always filled from the first
    return instances


def gpu_facts(ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return facts of GPUs by UUID; a fact that a GPU or its driver does not report is None.

    Limits are in W: ``default``, ``enforced`` (the lowest of all that act), and the range that can be set.
    ``mig_shared`` is whether the GPU has MIG instances that are not among ``ids``, or may have (they cannot always be
    seen): power and energy are the whole GPU's. None without MIG. ``power_sensor`` and ``energy_sensor`` name the NVML
    field or call of `power_w` and `energy_j`.

    Args:
        ids: UUIDs of GPUs or MIG instances; the facts are those of the whole GPU.

    Raises:
        CollectorError: A GPU does not answer.
    """
    with Nvml() as nvml:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        gpus = nvml.resolve(ids)
        return {gpu.uuid: {"driver": driver, **_facts(gpu, gpus)} for gpu in gpus}


def _facts(gpu: Gpu, requested: Collection[Gpu]) -> dict[str, Any]:
    with nvml_errors(f"GPU {gpu.uuid}"):
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        columns = columns_of(handle)
    limits_mw = _or_none(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle) or (None, None)
    mig_mode = _or_none(pynvml.nvmlDeviceGetMigMode, handle)
    mig = None if mig_mode is None else bool(mig_mode[0])
    persistence = _or_none(pynvml.nvmlDeviceGetPersistenceMode, handle)
    own = {each.mig_uuid: each for each in requested if each.uuid == gpu.uuid and each.mig}
    return {
        "name": gpu.name,
        "mig_uuid": gpu.mig_uuid,
        "mig": mig,
        "mig_shared": _is_shared(gpu, tuple(own.values()), handle) if mig else None,
        "persistence": None if persistence is None else bool(persistence),
        "default_power_limit_w": _watts(_or_none(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)),
        "enforced_power_limit_w": _watts(_or_none(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        "min_power_limit_w": _watts(limits_mw[0]),
        "max_power_limit_w": _watts(limits_mw[1]),
        "power_sensor": _sensor("power_w", "NVML_FI_DEV_POWER_INSTANT", "nvmlDeviceGetPowerUsage", columns),
        "energy_sensor": _sensor(
            "energy_j", "NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "nvmlDeviceGetTotalEnergyConsumption", columns
        ),
    }


def _is_shared(gpu: Gpu, own: Collection[Gpu], handle: Any) -> bool:
    """Return whether instances of others may be on the GPU; a container does not see them, so compare the memory."""
    try:
        visible = mig_instances(gpu)
    except CollectorError:
        visible = []
    own = own or visible[:1]  # CUDA takes the first instance if the whole GPU is requested
    memory = _or_none(pynvml.nvmlDeviceGetMemoryInfo, handle)
    own_bytes = sum(each.memory_total_bytes for each in own)
    return len(visible) > len(own) or memory is None or own_bytes < _WHOLE_GPU_RATIO * memory.total


def _sensor(column: str, field: str, call: str, columns: Columns) -> str | None:
    if column in columns.fields:
        return field
    return call if column in columns.calls else None


def _or_none(read: Callable[[Any], Any], handle: Any) -> Any:
    """Return a fact, or None after any error: a missing fact must not end a measurement."""
    try:
        return read(handle)
    except pynvml.NVMLError:
        return None


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / _MILLI


def _may_be_opened(index: int) -> bool:
    """Return False only without permission; any other error is raised when the GPU is used."""
    try:
        pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        return bool(error.value != pynvml.NVML_ERROR_NO_PERMISSION)
    return True


def _gpu(handle: Any) -> Gpu:
    total_bytes = pynvml.nvmlDeviceGetMemoryInfo(handle).total
    uuid, name = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
    return Gpu(uuid, pynvml.nvmlDeviceGetIndex(handle), name, total_bytes)


def _instance(handle: Any) -> Gpu:
    parent = _gpu(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle))
    total_bytes = pynvml.nvmlDeviceGetMemoryInfo(handle).total
    return replace(parent, memory_total_bytes=total_bytes, mig_uuid=pynvml.nvmlDeviceGetUUID(handle))
