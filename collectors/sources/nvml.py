"""Power source `nvml`: the sensors of NVIDIA GPUs. Devices are UUIDs, because NVML's order differs from CUDA's.

A MIG instance has no sensors of its own: its rows are the whole GPU's, under the GPU's UUID, and a note says so.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

import pynvml

from collectors.errors import CollectorError
from collectors.nvml_columns import Columns, columns_of, field_value
from collectors.nvml_devices import Nvml, close_nvml, open_nvml
from collectors.nvml_errors import GPU_GONE, collector_error, driver_says, nvml_errors
from collectors.source import Reading

_UUID_LENGTH = len("GPU-00000000-0000-0000-0000-000000000000")
_EVERY_TICK = frozenset({"power_w", "energy_j", "sm_clock_mhz", "clock_event_reasons"})
_SLOW_EVERY_S = 0.5
"""Period of the other columns. They change slowly, and every call costs time: it goes through the GPU's firmware."""
_MAX_OPENINGS = 1000
_MIG_NOTE = "requested was {}, whose power, energy and clocks cannot be separated: they are the whole GPU's"


def build(devices: Sequence[str], path: Path | None = None) -> "NvmlSource":
    """Return a source that reads GPUs.

    Args:
        devices: UUIDs of GPUs or MIG instances, or indices in NVML's order; all GPUs if empty. A GPU given by its whole
            UUID need not answer yet: the sampler tries again.
        path: Must be None.

    Raises:
        DriverMissing: There is no driver.
        UnknownGpu: An id matches no GPU of this machine.
        CollectorError: NVML refuses, or a ``path`` is given.
    """
    if path is not None:
        raise CollectorError(f"power source nvml reads GPUs, not a file: remove the path {path}")
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
    """Reads the sensors of GPUs; see `PowerSource`. A GPU is opened at its first read and after every error.

    Args:
        notes: A note for every row, or "", by UUID.
    """

    series: Literal["power"] = "power"

    def __init__(self, notes: Mapping[str, str]) -> None:
        self.devices = tuple(notes)
        self._notes = notes
        self._gpus: dict[str, _Gpu] = {}
        self._open = self._stale = False
        self._n_closed = 0
        """How often `_restart` has closed the library without opening it again."""

    def __enter__(self) -> Self:
        open_nvml()
        self._open = True
        return self

    def __exit__(self, *_exception: object) -> None:
        self._gpus.clear()
        if self._open:
            self._open = False
            close_nvml()

    def read(self, device: str) -> Reading:
        """Read one sample; a column that fails alone is an error of the reading."""
        try:
            gpu = self._gpus.get(device) or self._open_gpu(device)
            return gpu.read()
        except (pynvml.NVMLError, CollectorError) as error:
            self._gpus.pop(device, None)
            self._stale = not self._gpus
            if isinstance(error, CollectorError):
                raise
            raise collector_error(f"GPU {device}", error) from error

    def processes(self, device: str) -> tuple[int, ...]:
        """Return the host's pids that compute on a GPU, on any of its MIG instances too."""
        gpu = self._gpus.get(device)
        if gpu is None:
            return ()
        with nvml_errors(f"the processes on {device}"):
            return tuple(each.pid for each in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle))

    def _open_gpu(self, device: str) -> "_Gpu":
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
        self._restart()  # no GPU answers: if the driver was reloaded, the library must be opened again
        return pynvml.nvmlDeviceGetHandleByUUID(device)

    def _restart(self) -> None:
        """Close the library completely and open it as often as it was: it counts, and others of this process use it."""
        with suppress(pynvml.NVMLError_Uninitialized):
            for _ in range(_MAX_OPENINGS):
                pynvml.nvmlShutdown()
                self._n_closed += 1
        for _ in range(max(1, self._n_closed)):
            pynvml.nvmlInit()
            self._n_closed = max(0, self._n_closed - 1)
        self._stale = False


class _Gpu:
    """One open GPU."""

    def __init__(self, handle: Any, columns: Columns, notes: Mapping[str, str]) -> None:
        self.handle = handle
        self._notes = notes
        self._fast = _Group(handle, columns, lambda column: column in _EVERY_TICK)
        self._slow = _Group(handle, columns, lambda column: column not in _EVERY_TICK)
        self._slow_due_s = 0.0
        self._slow_values: dict[str, float] = {}
        self._slow_errors: dict[str, str] = {}

    def read(self) -> Reading:
        """Read one sample.

        Raises:
            pynvml.NVMLError: The GPU does not answer.
            CollectorError: No column could be read.
        """
        t_s, values, errors = self._fast.read()
        if t_s >= self._slow_due_s:
            _, self._slow_values, self._slow_errors = self._slow.read()
            self._slow_due_s = t_s + _SLOW_EVERY_S
        values |= self._slow_values
        if self._slow_errors:
            errors |= self._slow_errors
        if not values:
            reasons = "; ".join(f"{column}: {reason}" for column, reason in errors.items())
            raise CollectorError(f"nothing could be read: {reasons}")
        return Reading(t_s, values, errors, self._notes)


class _Group:
    """Columns of a GPU that are read together."""

    def __init__(self, handle: Any, columns: Columns, belongs: Callable[[str], bool]) -> None:
        self._handle = handle
        numbers = {column: number for column, number in columns.fields.items() if belongs(column)}
        self._names = tuple(numbers)
        self._fields = (pynvml.c_nvmlFieldValue_t * len(numbers))()
        for field, number in zip(self._fields, numbers.values(), strict=True):
            field.fieldId = number
        self._calls = tuple((column, call) for column, call in columns.calls.items() if belongs(column))

    def read(self) -> tuple[float, dict[str, float], dict[str, str]]:
        """Return the time in the middle of reading the fields, and values and errors by column."""
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
                errors[column] = _reason(error)
        return (before_s + after_s) / 2, values, errors

    def _read_fields(self, values: dict[str, float], errors: dict[str, str]) -> None:
        """Reuse one array: pynvml's wrapper allocates it at each call, which costs as much as the rest of a sample."""
        code = pynvml.nvmlLib.nvmlDeviceGetFieldValues(self._handle, len(self._names), self._fields)
        if code != pynvml.NVML_SUCCESS:
            raise pynvml.NVMLError(code)
        for column, field in zip(self._names, self._fields, strict=True):
            if field.nvmlReturn == pynvml.NVML_SUCCESS:
                values[column] = field_value(field) / 1000
            else:
                errors[column] = _reason(pynvml.NVMLError(field.nvmlReturn))


def _reason(error: pynvml.NVMLError) -> str:
    """Return why a column is missing; raise the error of a GPU that is gone."""
    if error.value in GPU_GONE:
        raise error
    return driver_says(error)
