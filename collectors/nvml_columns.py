"""Which call or field of NVML gives which column of a GPU's power series; tried once, when a GPU is opened.

`nvmlDeviceGetPowerUsage` is a mean of one second on GPUs newer than GA100 and instantaneous on GA100 and older ones
(NVML's reference), so it replaces one field or the other where a driver has no fields. The energy counter and the limit
have a field and a call; fields are preferred because several are read by one call.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pynvml

Call = Callable[[Any], float]

_GA100 = (8, 0)
_ABSENT = (
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,  # a field that an older driver does not know
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    pynvml.NVML_ERROR_DEPRECATED,
)
POWER_FIELDS = {
    "power_w": pynvml.NVML_FI_DEV_POWER_INSTANT,
    "average_power_w": pynvml.NVML_FI_DEV_POWER_AVERAGE,
    "energy_j": pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
    "power_limit_w": pynvml.NVML_FI_DEV_POWER_CURRENT_LIMIT,
}
"""Field ids by column. Units of NVML: mW and mJ."""
_VALUE_MEMBER = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """How to read the columns of one GPU."""

    fields: Mapping[str, int]
    """Field ids by column."""
    calls: Mapping[str, Call]
    """Calls by column, for columns without a field."""
    notes: Mapping[str, str]
    """By column: it is never available, or comes from another call than usual."""


def columns_of(handle: Any) -> Columns:
    """Try every field and call of a GPU once and return those that it has.

    Raises:
        pynvml.NVMLError: The GPU does not answer.
    """
    fields = {column: number for column, number in POWER_FIELDS.items() if _has_field(handle, number)}
    fallbacks = {column: _fallbacks(handle, column) for column in POWER_FIELDS if column not in fields}
    candidates = {**fallbacks, **_CALLS}
    calls = _available(handle, candidates)
    notes = dict.fromkeys(sorted(candidates.keys() - calls.keys()), "this GPU or its driver does not report it")
    if "power_w" in calls:
        notes["power_w"] = "from nvmlDeviceGetPowerUsage, which is instantaneous on this GPU"
    return Columns(fields, calls, notes)


def field_value(field: Any) -> float:
    """Return the number in a field that was read without error."""
    return float(getattr(field.value, _VALUE_MEMBER[field.valueType]))


def power_usage_w(handle: Any) -> float:
    """Read ``nvmlDeviceGetPowerUsage``, whose averaging time depends on the GPU."""
    return float(pynvml.nvmlDeviceGetPowerUsage(handle)) / 1000


def _has_field(handle: Any, number: int) -> bool:
    """Return whether the GPU has a field; an error that may pass counts as yes."""
    try:
        (field,) = pynvml.nvmlDeviceGetFieldValues(handle, [number])
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NotSupported):
        return False
    return field.nvmlReturn not in _ABSENT


def _available(handle: Any, candidates: Mapping[str, tuple[Call, ...]]) -> dict[str, Call]:
    """Return the first call of each column that the GPU has."""
    first = {column: next((call for call in calls if _has(handle, call)), None) for column, calls in candidates.items()}
    return {column: call for column, call in first.items() if call is not None}


def _has(handle: Any, call: Call) -> bool:
    """Return whether the GPU has a call; an error that may pass counts as yes."""
    try:
        call(handle)
    except pynvml.NVMLError as error:
        return error.value not in _ABSENT
    return True


def _fallbacks(handle: Any, column: str) -> tuple[Call, ...]:
    """Return the calls that give a column whose field is absent."""
    if column == "energy_j":
        return (_counter_j,)
    if column == "power_limit_w":
        return (_enforced_limit_w,)
    instantaneous = tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)) <= _GA100
    return (power_usage_w,) if instantaneous is (column == "power_w") else ()


def _counter_j(handle: Any) -> float:
    return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000


def _enforced_limit_w(handle: Any) -> float:
    return float(pynvml.nvmlDeviceGetEnforcedPowerLimit(handle)) / 1000


def _sm_clock_mhz(handle: Any) -> float:
    return float(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM))


def _memory_clock_mhz(handle: Any) -> float:
    return float(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM))


def _event_reasons(handle: Any) -> float:
    return float(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle))


def _throttle_reasons(handle: Any) -> float:
    """Read the same bits under the name they had before the 535 drivers."""
    return float(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _temperature_c(handle: Any) -> float:
    return float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))


def _utilization_ratio(handle: Any) -> float:
    return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100


_CALLS: Mapping[str, tuple[Call, ...]] = {
    "sm_clock_mhz": (_sm_clock_mhz,),
    "clock_event_reasons": (_event_reasons, _throttle_reasons),
    "memory_clock_mhz": (_memory_clock_mhz,),
    "temperature_c": (_temperature_c,),
    "utilization_ratio": (_utilization_ratio,),
}
