"""The NVIDIA GPUs of this machine: who they are, what their memory holds."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

import pynvml

from collectors.errors import CollectorError, DriverMissing, GpuLost, UnknownGpu
from collectors.nvml_columns import Columns, columns_of

GONE = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)
"""What the driver answers for a GPU that has to be asked for anew."""

_MILLI = 1000
_WHOLE_RATIO = 0.9
"""Of a GPU's memory: the one instance that is all of it has 97 % and more, the next smaller one about a half."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One physical GPU, and the MIG instance on it where that is what was asked for."""

    uuid: str
    index: int
    """NVML's order, which is the order of the PCI bus."""
    name: str
    memory_total_bytes: int
    """The instance's, where one is meant."""
    mig_uuid: str | None = None

    @property
    def mig(self) -> bool:
        """Whether a part of the GPU is meant; power and clocks are the whole GPU's all the same."""
        return self.mig_uuid is not None


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on a GPU; its bytes are None where the driver does not tell."""

    pid: int
    used_bytes: int | None


class Nvml:
    """The driver's management library, open for the length of a `with` block.

    Every method raises `GpuLost` for a GPU that is gone and `CollectorError` for whatever else the driver answers.
    """

    def __enter__(self) -> Self:
        """Opens the library.

        Raises:
            DriverMissing: No driver, or one that cannot be used.
        """
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise DriverMissing(f"NVML cannot be opened: {error}") from error
        return self

    def __exit__(self, *_exception: object) -> None:
        with suppress(pynvml.NVMLError_Uninitialized):  # a driver that was unloaded took it along
            pynvml.nvmlShutdown()

    def gpus(self) -> tuple[Gpu, ...]:
        """All that this process may open; `CUDA_VISIBLE_DEVICES` hides nothing from NVML."""
        return tuple(self._gpu_at(index) for index in self.indices())

    def gpus_left(self) -> tuple[Gpu, ...]:
        """Those that answer: a GPU that is lost is left out."""
        found = []
        for index in self.indices():
            with suppress(GpuLost):
                found.append(self._gpu_at(index))
        return tuple(found)

    def indices(self) -> tuple[int, ...]:
        """Of the GPUs, lost ones too, but not those that a batch system keeps from us: NVML counts them as well."""
        return tuple(index for index in range(self._count()) if _may_be_opened(index))

    def resolve(self, ids: Sequence[str | int]) -> tuple[Gpu, ...]:
        """The GPUs that ids of Ray or of `CUDA_VISIBLE_DEVICES` name, in their order.

        An id is an index (an int or digits), or a UUID or the beginning of one: "GPU-…" or "MIG-…". Ray counts in
        NVML's order; CUDA does so only with `CUDA_DEVICE_ORDER=PCI_BUS_ID`.

        Raises:
            UnknownGpu: An id names no GPU or more than one.
        """
        return tuple(self._resolved(str(each)) for each in ids)

    def memory_used_bytes(self, uuid: str) -> int:
        """What is allocated on a GPU or MIG instance, by any process and the driver, as `nvidia-smi` shows it."""
        with asking(f"the memory of {uuid}"):
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            return int(pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).used)

    def compute_processes(self, uuid: str) -> tuple[GpuProcess, ...]:
        """Who computes on a GPU. The pids are the host's; in a container the list is often empty."""
        with asking(f"the processes on {uuid}"):
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            found = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        return tuple(GpuProcess(each.pid, each.usedGpuMemory) for each in found)

    def _resolved(self, wanted: str) -> Gpu:
        """Asks of no other GPU where it can: another one may be lost."""
        if wanted.isdecimal():
            return self._gpu_at(int(wanted)) if int(wanted) < self._count() else self._abbreviated(wanted)
        if not wanted.startswith(("GPU-", "MIG-")):
            raise UnknownGpu(f"GPU id {wanted!r}: allowed are an index, GPU-<uuid> and MIG-<uuid>")
        with asking(f"GPU {wanted}"):
            try:
                handle = pynvml.nvmlDeviceGetHandleByUUID(wanted)
            except (pynvml.NVMLError_NotFound, pynvml.NVMLError_InvalidArgument):
                return self._abbreviated(wanted)
            return _instance(handle) if wanted.startswith("MIG-") else _gpu(handle)

    def _abbreviated(self, wanted: str) -> Gpu:
        known = self.gpus()
        if wanted.startswith("MIG-"):
            known = tuple(instance for gpu in known for instance in instances_on(gpu))
        matches = [gpu for gpu in known if (gpu.mig_uuid or gpu.uuid).startswith(wanted)]
        if len(matches) == 1:
            return matches[0]
        listed = ", ".join(gpu.mig_uuid or f"{gpu.index} ({gpu.uuid})" for gpu in known) or "none"
        raise UnknownGpu(f"GPU id {wanted!r} names {len(matches)} of this machine's: {listed}")

    def _count(self) -> int:
        with asking("the number of GPUs"):
            return int(pynvml.nvmlDeviceGetCount())

    def _gpu_at(self, index: int) -> Gpu:
        with asking(f"GPU {index}"):
            return _gpu(pynvml.nvmlDeviceGetHandleByIndex(index))


def gpu_names() -> tuple[str, ...]:
    """Product names in NVML's order, lost GPUs left out; empty where there is no driver or it cannot be used."""
    try:
        with Nvml() as nvml:
            return tuple(gpu.name for gpu in nvml.gpus_left())
    except CollectorError:
        return ()


def _may_be_opened(index: int) -> bool:
    try:
        pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:  # whatever else is wrong with it is told when it is asked for
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


def instances_on(gpu: Gpu) -> list[Gpu]:
    """The MIG instances of a GPU that this process is shown: a container has its own alone.

    Raises:
        CollectorError: The GPU does not answer.
    """
    found = []
    with asking(f"the MIG instances of {gpu.uuid}"):
        parent = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        for slot in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(parent)):
            try:
                found.append(_instance(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, slot)))
            except pynvml.NVMLError_NotFound:
                continue  # slots need not be filled from the first
    return found


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turns the driver's errors into ours, saying what was asked.

    Raises:
        GpuLost: What was asked is gone.
        CollectorError: Whatever else the driver answered.
    """
    try:
        yield
    except pynvml.NVMLError as error:
        raise refusal(what, error) from error


def refusal(what: str, error: pynvml.NVMLError) -> CollectorError:
    """The driver's error as ours, saying what was asked."""
    kind = GpuLost if error.value in GONE else CollectorError
    return kind(f"{what}: the driver says {str(error).lower()}")


def gpu_facts(ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Facts of GPUs by their UUIDs; what a GPU or its driver does not tell is None.

    Limits are in W: ``default``, ``enforced`` (the least of all that act), and the range it may be set to.
    ``mig_shared`` is whether instances that are not among ``ids`` are, or where they cannot be seen may be, on the GPU
    whose power and energy are told; None without MIG. ``power_sensor`` and ``energy_sensor`` say where `power_w` and
    `energy_j` come from.

    Args:
        ids: UUIDs of GPUs or MIG instances; of these the whole GPU is told.

    Raises:
        CollectorError: a GPU does not answer.
    """
    with Nvml() as nvml:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        gpus = nvml.resolve(ids)
        return {gpu.uuid: {"driver": driver, **_facts(gpu, gpus)} for gpu in gpus}


def _facts(gpu: Gpu, all_asked: Collection[Gpu]) -> dict[str, Any]:
    with asking(f"GPU {gpu.uuid}"):
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        columns = columns_of(handle)
    limits_w = _told(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle)
    mig = _flag(_first(_told(pynvml.nvmlDeviceGetMigMode, handle)))
    own = {each.mig_uuid: each for each in all_asked if each.uuid == gpu.uuid and each.mig}
    return {
        "name": gpu.name,
        "mig_uuid": gpu.mig_uuid,
        "mig": mig,
        "mig_shared": _shared(gpu, tuple(own.values()), handle) if mig else None,
        "persistence": _flag(_told(pynvml.nvmlDeviceGetPersistenceMode, handle)),
        "default_power_limit_w": _watts(_told(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)),
        "enforced_power_limit_w": _watts(_told(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        "min_power_limit_w": _watts(_first(limits_w)),
        "max_power_limit_w": None if limits_w is None else _watts(limits_w[1]),
        "power_sensor": _sensor("power_w", "NVML_FI_DEV_POWER_INSTANT", "nvmlDeviceGetPowerUsage", columns),
        "energy_sensor": _sensor(
            "energy_j", "NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "nvmlDeviceGetTotalEnergyConsumption", columns
        ),
    }


def _shared(gpu: Gpu, own: Collection[Gpu], handle: Any) -> bool:
    """In a container others' instances do not show, but those that are ours are less than the GPU."""
    try:
        there = instances_on(gpu)
    except CollectorError:
        there = []
    own = own or there[:1]  # CUDA takes the first where the whole GPU is asked for
    memory = _told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    own_bytes = sum(each.memory_total_bytes for each in own)
    return len(there) > len(own) or memory is None or own_bytes < _WHOLE_RATIO * memory.total


def _sensor(column: str, field: str, call: str, columns: Columns) -> str | None:
    if column in columns.fields:
        return field
    return call if column in columns.calls else None


def _told(ask: Callable[[Any], Any], handle: Any) -> Any:
    """None where the GPU does not tell."""
    try:
        return ask(handle)
    except pynvml.NVMLError:  # whatever is wrong with it: a fact of a record is not worth a measurement
        return None


def _first(pair: Any) -> Any:
    return None if pair is None else pair[0]


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / _MILLI


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)
