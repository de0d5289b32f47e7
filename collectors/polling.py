"""Poll a GPU's sensors faster than they update, in one thread. NVML must be open (`collectors.nvml_devices.Nvml`)."""

import gc
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pynvml

from collectors.nvml_columns import columns_of, field_value, power_usage_w
from collectors.nvml_devices import Nvml
from collectors.nvml_errors import GPU_GONE, nvml_errors
from collectors.update_period import UpdatePeriod, update_period

READINGS = {
    "power_w": 0.001,
    "energy_j": 0.002,
    "average_power_w": 0.005,
    "power_usage_w": 0.01,
}
"""Readings that can be polled, each with the shortest time between two calls. Units: s."""

_PERIOD_POLL_S = 0.002
_COST_CALLS = 200
_COST_LIMIT_S = 0.3
_LARGEST_SHARE = 0.2

Polled = dict[str, tuple[list[float], list[float]]]
"""Times (CLOCK_MONOTONIC, the middle of the call) and values, by reading."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One reading of one GPU, polled every ``every_s`` at most. ``read`` raises ``pynvml.NVMLError``."""

    name: str
    read: Callable[[], float]
    every_s: float


def gpu_update_periods(uuids: Sequence[str], for_s: float) -> dict[str, UpdatePeriod | None]:
    """Return the update period of each GPU's power reading, polled for ``for_s``; None if it cannot be determined.

    Run a varying load meanwhile: a steady power does not show updates. Opens NVML itself.

    Raises:
        CollectorError: A GPU cannot be read.
    """
    with Nvml():
        return {uuid: _gpu_update_period(uuid, for_s) for uuid in uuids}


def _gpu_update_period(uuid: str, for_s: float) -> UpdatePeriod | None:
    readers = [replace(reader, every_s=_PERIOD_POLL_S) for reader in readers_of(uuid, ("power_w",))]
    return update_period(*poll(readers, time.monotonic() + for_s)["power_w"]) if readers else None


def readers_of(uuid: str, names: Collection[str] = tuple(READINGS)) -> tuple[Reader, ...]:
    """Return a reader for each of ``names`` that the GPU has, in the order of `READINGS`.

    Sources are those of the power series (`columns_of`); ``power_usage_w`` is ``nvmlDeviceGetPowerUsage``, whose
    averaging time depends on the GPU.

    Raises:
        CollectorError: The GPU does not answer.
    """
    with nvml_errors(f"the sensors of {uuid}"):
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        columns = columns_of(handle)
    calls = {name: partial(call, handle) for name, call in columns.calls.items()}
    calls |= {name: partial(_field, handle, number) for name, number in columns.fields.items()}
    calls["power_usage_w"] = partial(power_usage_w, handle)
    readers = [Reader(name, calls[name], READINGS[name]) for name in READINGS if name in names and name in calls]
    return tuple(reader for reader in readers if reader.name != "power_usage_w" or np.isfinite(_value(reader)))


def poll(readers: Sequence[Reader], until_s: float) -> Polled:
    """Poll until an instant of CLOCK_MONOTONIC; a call that fails leaves no sample.

    Raises:
        GpuLost: The GPU no longer answers.
    """
    series: Polled = {reader.name: ([], []) for reader in readers}
    due_s = [time.monotonic()] * len(readers)
    gc.disable()  # a collection would be a gap in the samples
    try:
        while time.monotonic() < until_s:
            for index, reader in enumerate(readers):
                if (before_s := time.monotonic()) >= due_s[index]:
                    _sample(reader, before_s, series[reader.name])
                    due_s[index] = max(due_s[index] + reader.every_s, time.monotonic())
            time.sleep(max(0.0, min([*due_s, until_s]) - time.monotonic()))
    finally:
        gc.enable()
    return series


def call_cost_s(reader: Reader) -> tuple[float, float]:
    """Return the median and the 99th percentile of the duration of a call, of up to 200 calls. Units: s."""
    durations_s: list[float] = []
    end_s = time.monotonic() + _COST_LIMIT_S
    while not durations_s or (len(durations_s) < _COST_CALLS and time.monotonic() < end_s):
        before_s = time.monotonic()
        _value(reader)
        durations_s.append(time.monotonic() - before_s)
    return float(np.median(durations_s)), float(np.percentile(durations_s, 99))


def paced(reader: Reader, cost_s: float) -> Reader:
    """Return the reader, polled less often if a call takes long, so that it does not delay the others."""
    return replace(reader, every_s=max(reader.every_s, cost_s / _LARGEST_SHARE))


def _sample(reader: Reader, before_s: float, series: tuple[list[float], list[float]]) -> None:
    value = _value(reader)
    if np.isfinite(value):
        series[0].append((before_s + time.monotonic()) / 2)
        series[1].append(value)


def _value(reader: Reader) -> float:
    """Read once; return NaN if the driver refuses this reading.

    Raises:
        GpuLost: The GPU no longer answers.
    """
    try:
        return reader.read()
    except pynvml.NVMLError as error:
        if error.value in GPU_GONE:
            with nvml_errors(f"the reading {reader.name}"):
                raise
        return np.nan


def _field(handle: Any, number: int) -> float:
    (field,) = pynvml.nvmlDeviceGetFieldValues(handle, [number])
    return field_value(field) / 1000 if field.nvmlReturn == pynvml.NVML_SUCCESS else np.nan
