"""NVIDIA GPUs, asked through the driver. Which GPU is meant is said by UUID: the driver's order is not CUDA's.

A MIG instance has no sensors of its own: its rows are the whole GPU's, under the GPU's UUID, and a note says so.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import pynvml

from collectors.errors import CollectorError, DriverMissing
from collectors.gpus import GONE, Nvml, asking
from collectors.nvml_columns import Columns, columns_of, field_value
from collectors.source import Reading

_UUID_LENGTH = len("GPU-00000000-0000-0000-0000-000000000000")
_SLOW_EVERY_S = 0.5
"""Temperature, load and the memory clock: each is a call of its own, and none moves within half a second."""
_MIG_NOTE = "asked for {}, of which power, energy and clocks cannot be told apart: they are the whole GPU's"


def build(devices: Sequence[str], path: Path | None = None) -> "NvmlSource":
    """A source over GPUs named by UUID, by MIG UUID, or by index in the driver's order; all there are if none is named.

    A GPU whose whole UUID is given need not answer now: it is asked again.

    Raises:
        DriverMissing: There is no driver.
        UnknownGpu: An id names no GPU of this machine.
        CollectorError: The driver refuses, or a `path` is given.
    """
    if path is not None:
        raise CollectorError(f"power source nvml reads GPUs, not a file: leave the path {path} out")
    uuids: dict[str, str] = {}
    with Nvml() as nvml:
        for device in devices or [gpu.uuid for gpu in nvml.gpus()]:
            if device.startswith("GPU-") and len(device) == _UUID_LENGTH:
                uuids.setdefault(device, "")
                continue
            (gpu,) = nvml.resolve([device])
            note = _MIG_NOTE.format(gpu.mig_uuid) if gpu.mig else ""
            uuids[gpu.uuid] = uuids.get(gpu.uuid, "") or note
    return NvmlSource(uuids)


class NvmlSource:
    """The sensors of some GPUs; see `PowerSource`. A GPU is opened when it is first read, and again after an error."""

    series: Literal["power"] = "power"

    def __init__(self, notes: Mapping[str, str]) -> None:
        """The keys are the GPUs' UUIDs; a note that is not empty goes with every row."""
        self.devices = tuple(notes)
        self._notes = notes
        self._gpus: dict[str, _Gpu] = {}
        self._open = self._stale = False

    def __enter__(self) -> Self:
        try:
            self._start()
        except pynvml.NVMLError as error:
            raise DriverMissing(f"NVML cannot be opened: {error}") from error
        return self

    def __exit__(self, *_exception: object) -> None:
        self._gpus.clear()
        self._end()

    def read(self, device: str) -> Reading:
        """One sample; a column that fails alone is an error of the reading, no more."""
        try:
            with asking(f"GPU {device}"):
                gpu = self._gpus.get(device) or self._opened(device)
                return gpu.read()
        except CollectorError:
            self._gpus.pop(device, None)
            self._stale = not self._gpus
            raise

    def processes(self, device: str) -> tuple[int, ...]:
        """The pids that compute on a GPU, all of its MIG instances' too, as the host counts them."""
        gpu = self._gpus.get(device)
        if gpu is None:
            return ()
        with asking(f"the processes on {device}"):
            return tuple(each.pid for each in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle))

    def _opened(self, device: str) -> "_Gpu":
        if self._stale:  # none answered: a driver that was loaded anew wants the library started anew
            self._end()
            self._start()
        handle = pynvml.nvmlDeviceGetHandleByUUID(device)
        columns = columns_of(handle)
        note = self._notes[device]
        gpu = _Gpu(handle, columns, {**columns.notes, "": note} if note else columns.notes)
        self._gpus[device] = gpu
        return gpu

    def _start(self) -> None:
        pynvml.nvmlInit()
        self._open, self._stale = True, False

    def _end(self) -> None:
        if self._open:
            self._open = False
            pynvml.nvmlShutdown()


class _Gpu:
    """One GPU that answered when it was opened."""

    def __init__(self, handle: Any, columns: Columns, notes: Mapping[str, str]) -> None:
        self.handle = handle
        self._columns = columns
        self._field_names = tuple(columns.fields)
        self._field_numbers = list(columns.fields.values())
        self._notes = notes
        self._slow: dict[str, float] = {}
        self._slow_errors: dict[str, str] = {}
        self._slow_due_s = 0.0

    def read(self) -> Reading:
        """One sample.

        Raises:
            pynvml.NVMLError: The GPU does not answer.
            CollectorError: Nothing of it could be read.
        """
        values: dict[str, float] = {}
        errors: dict[str, str] = {}
        before_s = time.monotonic()
        if self._field_numbers:
            self._read_fields(values, errors)
        after_s = time.monotonic()
        _call_all(self.handle, self._columns.calls, values, errors)
        if after_s >= self._slow_due_s:
            self._slow, self._slow_errors = {}, {}
            _call_all(self.handle, self._columns.slow_calls, self._slow, self._slow_errors)
            self._slow_due_s = after_s + _SLOW_EVERY_S
        values |= self._slow
        errors |= self._slow_errors
        if not values:
            raise CollectorError(
                f"nothing could be read: {'; '.join(f'{name}: {why}' for name, why in errors.items())}"
            )
        return Reading((before_s + after_s) / 2, values, errors, self._notes)

    def _read_fields(self, values: dict[str, float], errors: dict[str, str]) -> None:
        answers = pynvml.nvmlDeviceGetFieldValues(self.handle, self._field_numbers)
        for column, answer in zip(self._field_names, answers, strict=True):
            if answer.nvmlReturn == pynvml.NVML_SUCCESS:
                values[column] = field_value(answer) / 1000
            else:
                _refuse(column, pynvml.NVMLError(answer.nvmlReturn), errors)


def _call_all(handle: Any, calls: Mapping[str, Any], values: dict[str, float], errors: dict[str, str]) -> None:
    for column, call in calls.items():
        try:
            values[column] = call(handle)
        except pynvml.NVMLError as error:
            _refuse(column, error, errors)


def _refuse(column: str, error: pynvml.NVMLError, errors: dict[str, str]) -> None:
    """Notes why a column is missing; a GPU that is gone is no matter of one column."""
    if error.value in GONE:
        raise error
    errors[column] = f"the driver says {str(error).lower()}"
