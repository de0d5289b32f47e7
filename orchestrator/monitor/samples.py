"""From what a sampler took, in CLOCK_MONOTONIC seconds, to the series of a cell, on the cell's clock."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa

from orchestrator.records.series import SCHEMAS, sampled_table

Taken = Mapping[str, Mapping[str, npt.NDArray[np.generic]]]
"""Columns by series."""

_PROCESSES = "gpu_processes"
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_OF_HOST = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel: the same on every machine


def series_of(taken: Taken, origin_s: float, own_pids: Collection[int]) -> dict[str, pa.Table]:
    """Tables in the schemas of `orchestrator.records.series`, times from ``origin_s``; empty series are left out.

    ``own_pids`` are the processes of the cell's engine.
    """
    found = {}
    for name, columns in taken.items():
        if len(columns["t_s"]) == 0:
            continue
        shifted = {**columns, "t_s": np.asarray(columns["t_s"], dtype=np.float64) - origin_s}
        if name == _PROCESSES:
            shifted["own"] = _owned(columns["pid"], own_pids)
        found[name] = sampled_table(shifted, SCHEMAS[name])
    return found


def with_shared(series: Mapping[str, pa.Table], devices: Collection[str]) -> dict[str, pa.Table]:
    """The series with an event ``shared`` of each of these GPUs: what they tell is of others' MIG instances too."""
    told = [event("shared", "power, energy and clocks are those of all MIG instances", device=uuid) for uuid in devices]
    if not told:
        return dict(series)
    known = series.get("sensor_events", SCHEMAS["sensor_events"].empty_table())
    return {**series, "sensor_events": pa.concat_tables([*told, known])}


def event(kind: str, detail: str, at_s: float = 0.0, device: str = "") -> pa.Table:
    """One row of ``sensor_events``, on the cell's clock."""
    row = {"t_s": at_s, "device": device, "kind": kind, "detail": detail}
    return pa.Table.from_pylist([row], schema=SCHEMAS["sensor_events"])


def _owned(pids: npt.NDArray[np.generic], own: Collection[int]) -> npt.NDArray[np.object_]:
    """Whose each is; None for one that is not of this machine's as we see it.

    The driver counts pids as the host does, so in a container the engine's own may be among those, and one of them may
    by chance be that of some process here: a driver that names none of the engine's does not count as we do.
    """
    ids = [int(pid) for pid in pids.tolist()]
    sees_all, process_of = _sees_all(), {pid: _process_of(pid) for pid in {*ids}}
    counts_as_we_do = not {*process_of.values()}.isdisjoint(own)

    def is_another(pid: int) -> bool:
        return sees_all or (counts_as_we_do and psutil.pid_exists(pid))

    whose = {pid: True if of in own else (False if is_another(of) else None) for pid, of in process_of.items()}
    return np.array([whose[pid] for pid in ids], dtype=object)


def _process_of(pid: int) -> int:
    """The process that a thread is of: in containers some drivers name the thread that first used the GPU."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended, or is not of our namespace
        return pid
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("Tgid:")), pid)


def _sees_all() -> bool:
    """Whether this process is in the host's own pid namespace."""
    try:
        return str(_PID_NAMESPACE.readlink()) == _OF_HOST
    except OSError:
        return False
