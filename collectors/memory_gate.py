"""Waiting until GPUs are as empty as they were before an engine used them."""

import time
from collections.abc import Iterable, Mapping

from collectors.errors import CollectorError, MemoryHeld
from collectors.nvml_devices import GpuProcess, Nvml

_POLL_S = 0.1
_GIB = 2**30


def memory_baseline(uuids: Iterable[str]) -> dict[str, int]:
    """Bytes in use on each GPU now.

    Raises:
        CollectorError: A GPU cannot be read.
    """
    with Nvml() as nvml:
        return {uuid: nvml.memory_used_bytes(uuid) for uuid in uuids}


def wait_for_baseline(baseline_bytes: Mapping[str, int], *, slack_bytes: int, timeout_s: float) -> None:
    """Blocks until no GPU uses more than it did, `slack_bytes` aside. The keys are UUIDs.

    Raises:
        MemoryHeld: Memory has not come back within the time; says on which GPU, how much, and who holds it.
        CollectorError: A GPU cannot be read.
    """
    deadline_s = time.monotonic() + timeout_s
    with Nvml() as nvml:
        while True:
            used = {uuid: nvml.memory_used_bytes(uuid) for uuid in baseline_bytes}
            over = [uuid for uuid, n_bytes in used.items() if n_bytes > baseline_bytes[uuid] + slack_bytes]
            if not over:
                return
            if time.monotonic() >= deadline_s:
                told = "; ".join(_held(nvml, uuid, used[uuid], baseline_bytes[uuid]) for uuid in over)
                raise MemoryHeld(f"GPU memory has not come back after {timeout_s:g} s: {told}")
            time.sleep(_POLL_S)


def _held(nvml: Nvml, uuid: str, used_bytes: int, baseline_bytes: int) -> str:
    amounts = f"{used_bytes / _GIB:.2f} GiB in use, {baseline_bytes / _GIB:.2f} GiB before"
    return f"{uuid} has {amounts}, held by {_holders(nvml, uuid)}"


def _holders(nvml: Nvml, uuid: str) -> str:
    try:
        found = nvml.compute_processes(uuid)
    except CollectorError as error:  # the memory is what the caller must hear about
        return f"nobody knows whom ({error})"
    return ", ".join(map(_told, found)) or "a process the driver does not name"


def _told(process: GpuProcess) -> str:
    size = "" if process.used_bytes is None else f" ({process.used_bytes / _GIB:.2f} GiB)"
    return f"pid {process.pid}{size}"
