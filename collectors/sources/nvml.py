"""NVIDIA GPUs, asked through the driver. Which GPU is meant is said by UUID: the driver's order is not CUDA's.

A MIG instance has no sensors of its own: its rows are the whole GPU's, under the GPU's UUID, and a note says so.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

import pynvml

from collectors.errors import CollectorError, DriverMissing
from collectors.nvml_columns import Columns, columns_of, field_value
from collectors.nvml_devices import GONE, Nvml, asking, refusal
from collectors.source import Reading

_UUID_LENGTH = len("GPU-00000000-0000-0000-0000-000000000000")
_EVERY_TICK = frozenset({"power_w", "energy_j", "sm_clock_mhz", "clock_event_reasons"})
_MOST_OPENINGS = 1000
_SLOW_EVERY_S = 0.5
"""The other columns hardly move within this time, and every call counts: they go through the GPU's firmware."""
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
        self._n_closed = 0
        """How often the library has been closed that others of this process, and we, believe to be open."""

    def __enter__(self) -> Self:
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise DriverMissing(f"NVML cannot be opened: {error}") from error
        self._open = True
        return self

    def __exit__(self, *_exception: object) -> None:
        self._gpus.clear()
        if self._open:
            self._open = False
            with suppress(pynvml.NVMLError_Uninitialized):  # a driver that was unloaded took it along
                pynvml.nvmlShutdown()

    def read(self, device: str) -> Reading:
        """One sample; a column that fails alone is an error of the reading, no more."""
        try:
            gpu = self._gpus.get(device) or self._opened(device)
            return gpu.read()
        except (pynvml.NVMLError, CollectorError) as error:
            self._gpus.pop(device, None)
            self._stale = not self._gpus
            if isinstance(error, CollectorError):
                raise
            raise refusal(f"GPU {device}", error) from error

    def processes(self, device: str) -> tuple[int, ...]:
        """The pids that compute on a GPU, all of its MIG instances' too, as the host counts them."""
        gpu = self._gpus.get(device)
        if gpu is None:
            return ()
        with asking(f"the processes on {device}"):
            return tuple(each.pid for each in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle))

    def _opened(self, device: str) -> "_Gpu":
        handle = self._handle(device)
        columns = columns_of(handle)
        note = self._notes[device]
        gpu = _Gpu(handle, columns, {**columns.notes, "": note} if note else columns.notes)
        self._gpus[device] = gpu
        return gpu

    def _handle(self, device: str) -> Any:
        try:
            return pynvml.nvmlDeviceGetHandleByUUID(device)
        except pynvml.NVMLError:
            if not self._stale:
                raise
        self._restart()  # none answers: a driver that was loaded anew wants the library opened anew
        return pynvml.nvmlDeviceGetHandleByUUID(device)

    def _restart(self) -> None:
        """Closes the library for whoever has it open in this process, and opens it as often again: it counts."""
        with suppress(pynvml.NVMLError_Uninitialized):
            for _ in range(_MOST_OPENINGS):
                pynvml.nvmlShutdown()
                self._n_closed += 1
        for _ in range(max(1, self._n_closed)):
            pynvml.nvmlInit()
            self._n_closed = max(0, self._n_closed - 1)
        self._stale = False


class _Gpu:
    """One GPU that answered when it was opened."""

    def __init__(self, handle: Any, columns: Columns, notes: Mapping[str, str]) -> None:
        self.handle = handle
        self._notes = notes
        self._quick = _Group(handle, columns, lambda column: column in _EVERY_TICK)
        self._slow = _Group(handle, columns, lambda column: column not in _EVERY_TICK)
        self._slow_due_s = 0.0
        self._slow_values: dict[str, float] = {}
        self._slow_errors: dict[str, str] = {}

    def read(self) -> Reading:
        """One sample.

        Raises:
            pynvml.NVMLError: The GPU does not answer.
            CollectorError: Nothing of it could be read.
        """
        t_s, values, errors = self._quick.read()
        if t_s >= self._slow_due_s:
            _, self._slow_values, self._slow_errors = self._slow.read()
            self._slow_due_s = t_s + _SLOW_EVERY_S
        values |= self._slow_values
        if self._slow_errors:
            errors |= self._slow_errors
        if not values:
            raise CollectorError(
                f"nothing could be read: {'; '.join(f'{name}: {why}' for name, why in errors.items())}"
            )
        return Reading(t_s, values, errors, self._notes)


class _Group:
    """Columns of a GPU that are read together."""

    def __init__(self, handle: Any, columns: Columns, belongs: Callable[[str], bool]) -> None:
        self._handle = handle
        fields = {column: number for column, number in columns.fields.items() if belongs(column)}
        self._names = tuple(fields)
        self._answers = (pynvml.c_nvmlFieldValue_t * len(fields))()
        for answer, number in zip(self._answers, fields.values(), strict=True):
            answer.fieldId = number
        self._calls = tuple((column, call) for column, call in columns.calls.items() if belongs(column))

    def read(self) -> tuple[float, dict[str, float], dict[str, str]]:
        """Time in the middle of reading the fields, values and errors by column."""
        values: dict[str, float] = {}
        errors: dict[str, str] = {}
        before_s = time.monotonic()
        if self._names:
            self._read_fields(values, errors)
        after_s = time.monotonic()
        for column, call in self._calls:
            try:
                values[column] = call(self._handle)
            except pynvml.NVMLError as error:
                _refuse(column, error, errors)
        return (before_s + after_s) / 2, values, errors

    def _read_fields(self, values: dict[str, float], errors: dict[str, str]) -> None:
        """Pynvml's wrapper makes the array anew each time, which costs as much as all the rest of a sample."""
        code = pynvml.nvmlLib.nvmlDeviceGetFieldValues(self._handle, len(self._names), self._answers)
        if code != pynvml.NVML_SUCCESS:
            raise pynvml.NVMLError(code)
        for column, answer in zip(self._names, self._answers, strict=True):
            if answer.nvmlReturn == pynvml.NVML_SUCCESS:
                values[column] = field_value(answer) / 1000
            else:
                _refuse(column, pynvml.NVMLError(answer.nvmlReturn), errors)


def _refuse(column: str, error: pynvml.NVMLError, errors: dict[str, str]) -> None:
    """Notes why a column is missing; a GPU that is gone is no matter of one column."""
    if error.value in GONE:
        raise error
    errors[column] = f"the driver says {str(error).lower()}"
