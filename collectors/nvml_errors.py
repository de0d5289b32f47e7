"""NVML's errors, raised as those of `collectors.errors`."""

from collections.abc import Iterator
from contextlib import contextmanager

import pynvml

from collectors.errors import CollectorError, ControlRefused, GpuLost, NotPermitted, NotSupported

GPU_GONE = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)
"""Codes of a GPU that must be opened again."""

_READ: dict[int, type[CollectorError]] = dict.fromkeys(GPU_GONE, GpuLost)
_CONTROL: dict[int, type[CollectorError]] = {
    **_READ,
    pynvml.NVML_ERROR_NO_PERMISSION: NotPermitted,
    pynvml.NVML_ERROR_NOT_SUPPORTED: NotSupported,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: NotSupported,
    pynvml.NVML_ERROR_INVALID_ARGUMENT: ControlRefused,
}


@contextmanager
def nvml_errors(what: str, *, control: bool = False) -> Iterator[None]:
    """Raise NVML's errors as `collector_error` maps them.

    Raises:
        GpuLost: The GPU is gone.
        ControlRefused: Only with ``control``: a setting is not supported, not permitted or not valid.
        CollectorError: Any other error of NVML.
    """
    try:
        yield
    except pynvml.NVMLError as error:
        raise collector_error(what, error, control=control) from error


def collector_error(what: str, error: pynvml.NVMLError, *, control: bool = False) -> CollectorError:
    """Return the error of this project for an error of NVML.

    Args:
        what: What was read or set; begins the message.
        error: As NVML raised it.
        control: Whether a limit or clock is controlled, so that a refused setting is a `ControlRefused`.
    """
    kind = (_CONTROL if control else _READ).get(error.value, CollectorError)
    return kind(f"{what}: {driver_says(error)}")


def driver_says(error: pynvml.NVMLError) -> str:
    """Return NVML's description of an error, for messages."""
    return f"the driver says {str(error).lower()}"
