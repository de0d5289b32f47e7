"""Wait until the memory of GPUs is as free as it was before an engine used them."""

import time
from collections.abc import Iterable, Mapping

from collectors.errors import CollectorError, MemoryHeld
from collectors.nvml_devices import GpuProcess, Nvml

_POLL_S = 0.1
_GIB = 2**30


def memory_baseline(uuids: Iterable[str]) -> dict[str, int]:
    """Return the bytes in use on each GPU now.

    Raises:
        CollectorError: A GPU cannot be read.
    """
    with Nvml() as nvml:
        return {uuid: nvml.memory_used_bytes(uuid) for uuid in uuids}


def wait_for_baseline(baseline_bytes: Mapping[str, int], *, slack_bytes: int, timeout_s: float) -> None:
    """Block until no GPU uses more than its baseline and ``slack_bytes``.

    Args:
        baseline_bytes: Bytes in use before, by UUID (`memory_baseline`).
        slack_bytes: How much more may stay in use.
        timeout_s: How long to wait.

    Raises:
        MemoryHeld: Memory was not freed in time; the message has the GPU, the amount and the processes that hold it.
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
                detail = "; ".join(_held(nvml, uuid, used[uuid], baseline_bytes[uuid]) for uuid in over)
                raise MemoryHeld(f"GPU memory was not freed within {timeout_s:g} s: {detail}")
            time.sleep(_POLL_S)


def _held(nvml: Nvml, uuid: str, used_bytes: int, baseline_bytes: int) -> str:
    amounts = f"{used_bytes / _GIB:.2f} GiB in use, {baseline_bytes / _GIB:.2f} GiB before"
    return f"{uuid} has {amounts}, held by {_holders(nvml, uuid)}"


def _holders(nvml: Nvml, uuid: str) -> str:
    try:
        processes = nvml.compute_processes(uuid)
    except CollectorError as error:  # the error about the memory matters more
        return f"unknown processes ({error})"
    return ", ".join(map(_holder, processes)) or "a process the driver does not name"


def _holder(process: GpuProcess) -> str:
    size = "" if process.used_bytes is None else f" ({process.used_bytes / _GIB:.2f} GiB)"
    return f"pid {process.pid}{size}"
