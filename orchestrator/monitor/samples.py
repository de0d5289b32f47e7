"""Convert a sampler's columns, in CLOCK_MONOTONIC seconds, to the series of a cell, on the cell's clock."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa

from orchestrator.records.series import SCHEMAS, sampled_table

SampledColumns = Mapping[str, Mapping[str, npt.NDArray[np.generic]]]
"""Columns by series."""

_PROCESSES = "gpu_processes"
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_HOST_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel: the same on every machine


def series_of(sampled: SampledColumns, origin_s: float, own_pids: Collection[int]) -> dict[str, pa.Table]:
    """Return tables in the schemas of `orchestrator.records.series`, without empty series.

    Args:
        sampled: What the sampler returned.
        origin_s: When the cell began, on CLOCK_MONOTONIC; times in the tables count from there.
        own_pids: Processes of the cell's engine.
    """
    tables = {}
    for name, columns in sampled.items():
        if len(columns["t_s"]) == 0:
            continue
        shifted = {**columns, "t_s": np.asarray(columns["t_s"], dtype=np.float64) - origin_s}
        if name == _PROCESSES:
            shifted["own"] = _is_own(columns["pid"], own_pids)
        tables[name] = sampled_table(shifted, SCHEMAS[name])
    return tables


def with_shared_events(series: Mapping[str, pa.Table], devices: Collection[str]) -> dict[str, pa.Table]:
    """Add an event ``shared`` for each GPU whose sensors also measure MIG instances of others."""
    detail = "power, energy and clocks are those of all MIG instances"
    events = [sensor_event("shared", detail, device=uuid) for uuid in devices]
    if not events:
        return dict(series)
    sampled = series.get("sensor_events", SCHEMAS["sensor_events"].empty_table())
    return {**series, "sensor_events": pa.concat_tables([*events, sampled])}


def sensor_event(kind: str, detail: str, device: str = "") -> pa.Table:
    """Return one row of ``sensor_events``, at the begin of the cell."""
    row = {"t_s": 0.0, "device": device, "kind": kind, "detail": detail}
    return pa.Table.from_pylist([row], schema=SCHEMAS["sensor_events"])


def _is_own(pids: npt.NDArray[np.generic], own: Collection[int]) -> npt.NDArray[np.object_]:
    """Return for each pid whether it belongs to the engine; None if it is not visible in this pid namespace.

    The driver reports pids of the host's namespace. In a container these do not match pids seen here, except by
    chance. So a pid counts as another process only if the driver also reports one of the engine's own pids.
    """
    ids = [int(pid) for pid in pids.tolist()]
    in_host_namespace, process_of = _in_host_namespace(), {pid: _process_of(pid) for pid in {*ids}}
    same_namespace = not {*process_of.values()}.isdisjoint(own)

    def is_another(pid: int) -> bool:
        return in_host_namespace or (same_namespace and psutil.pid_exists(pid))

    is_own = {pid: True if of in own else (False if is_another(of) else None) for pid, of in process_of.items()}
    return np.array([is_own[pid] for pid in ids], dtype=object)


def _process_of(pid: int) -> int:
    """Return the process of a thread: in containers some drivers report the thread that first used the GPU."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended, or is in another namespace
        return pid
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("Tgid:")), pid)


def _in_host_namespace() -> bool:
    """Return whether this process is in the host's pid namespace."""
    try:
        return str(_PID_NAMESPACE.readlink()) == _HOST_NAMESPACE
    except OSError:
        return False
