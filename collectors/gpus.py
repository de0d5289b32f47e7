"""The NVIDIA GPUs of this machine: who they are, what their memory holds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

import pynvml

from collectors.errors import CollectorError, DriverMissing, GpuLost, UnknownGpu

GONE = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)
"""What the driver answers for a GPU that has to be asked for anew."""


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
