"""What a GPU, its driver and this machine are and stand at: read, never set."""

import importlib.metadata
import platform
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pynvml

from benchmarks.machine import machine, today

_PACKAGES = ("nvidia-ml-py", "numpy", "pyarrow", "torch")


def facts_of(handle: Any) -> dict[str, Any]:
    """By name; where the driver does not tell, ``{"error": name}``."""
    return {
        "date": today(),
        "machine": machine(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        **{name: told(call) for name, call in _calls(handle).items()},
    }


def told(call: Callable[[], Any]) -> Any:
    """The answer, or the error's name."""
    try:
        return _plain(call())
    except pynvml.NVMLError as error:
        return {"error": type(error).__name__}
    except Exception as error:  # a supervisor: no fact is worth the measurement; pynvml's versions lack calls
        return {"error": f"{type(error).__name__}: {error}"}


def sample_buffer(handle: Any) -> dict[str, Any]:
    """The driver's own buffer of power samples, where it keeps one: how many, and the time between them."""
    found = told(lambda: pynvml.nvmlDeviceGetSamples(handle, pynvml.NVML_TOTAL_POWER_SAMPLES, 0)[1])
    if isinstance(found, dict):
        return found
    times_us = sorted(sample.timeStamp for sample in found)
    return {"samples": len(times_us), "between_ms": [(b - a) / 1e3 for a, b in pairwise(times_us)]}


def field_age(handle: Any) -> dict[str, Any]:
    """How old the driver says the instantaneous power is, by the answer's stamp, and what it says the read took."""

    def ages() -> list[tuple[float, int]]:
        found = []
        for _ in range(100):
            (answer,) = pynvml.nvmlDeviceGetFieldValues(handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])
            now_us = time.clock_gettime_ns(time.CLOCK_REALTIME) / 1e3
            found.append((now_us - answer.timestamp, answer.latencyUsec))
            time.sleep(0.002)
        return found

    found = told(ages)
    if isinstance(found, dict):
        return found
    ages_us, latencies_us = zip(*found, strict=True)
    return {"age_us": [min(ages_us), max(ages_us)], "latency_us": [min(latencies_us), max(latencies_us)]}


def _calls(handle: Any) -> dict[str, Callable[[], Any]]:
    nv = pynvml
    of_driver = {
        "driver": nv.nvmlSystemGetDriverVersion,
        "nvml": nv.nvmlSystemGetNVMLVersion,
        "cuda_driver": nv.nvmlSystemGetCudaDriverVersion,
    }
    of_gpu = {
        "name": lambda: nv.nvmlDeviceGetName(handle),
        "vbios": lambda: nv.nvmlDeviceGetVbiosVersion(handle),
        "inforom_power": lambda: nv.nvmlDeviceGetInforomVersion(handle, nv.NVML_INFOROM_POWER),
        "memory_total_bytes": lambda: nv.nvmlDeviceGetMemoryInfo(handle).total,
        "memory_used_bytes": lambda: nv.nvmlDeviceGetMemoryInfo(handle, version=nv.nvmlMemory_v2).used,
        "processes": lambda: len(nv.nvmlDeviceGetComputeRunningProcesses(handle)),
        "persistence_mode": lambda: nv.nvmlDeviceGetPersistenceMode(handle),
        "ecc_mode": lambda: nv.nvmlDeviceGetEccMode(handle),
        "mig_mode": lambda: nv.nvmlDeviceGetMigMode(handle),
        "compute_mode": lambda: nv.nvmlDeviceGetComputeMode(handle),
        "virtualization_mode": lambda: nv.nvmlDeviceGetVirtualizationMode(handle),
    }
    return {**of_driver, **of_gpu, **_limits_and_clocks(handle)}


def _limits_and_clocks(handle: Any) -> dict[str, Callable[[], Any]]:
    nv = pynvml
    return {
        "default_limit_mw": lambda: nv.nvmlDeviceGetPowerManagementDefaultLimit(handle),
        "limit_mw": lambda: nv.nvmlDeviceGetPowerManagementLimit(handle),
        "enforced_limit_mw": lambda: nv.nvmlDeviceGetEnforcedPowerLimit(handle),
        "limit_range_mw": lambda: nv.nvmlDeviceGetPowerManagementLimitConstraints(handle),
        "sm_clock_mhz": lambda: nv.nvmlDeviceGetClockInfo(handle, nv.NVML_CLOCK_SM),
        "memory_clock_mhz": lambda: nv.nvmlDeviceGetClockInfo(handle, nv.NVML_CLOCK_MEM),
        "max_sm_clock_mhz": lambda: nv.nvmlDeviceGetMaxClockInfo(handle, nv.NVML_CLOCK_SM),
        "max_memory_clock_mhz": lambda: nv.nvmlDeviceGetMaxClockInfo(handle, nv.NVML_CLOCK_MEM),
        "applications_sm_clock_mhz": lambda: nv.nvmlDeviceGetApplicationsClock(handle, nv.NVML_CLOCK_SM),
        "performance_state": lambda: nv.nvmlDeviceGetPerformanceState(handle),
        "event_reasons": lambda: nv.nvmlDeviceGetCurrentClocksEventReasons(handle),
        "temperature_c": lambda: nv.nvmlDeviceGetTemperature(handle, nv.NVML_TEMPERATURE_GPU),
    }


def _plain(value: Any) -> Any:
    """What JSON can hold."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, tuple | list):
        return list(value)
    return value


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
