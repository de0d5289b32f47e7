"""What can be asked of a GPU's sensors, each as one number, and what it costs to ask."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pynvml

from collectors.nvml_columns import field_value

_COST_CALLS = 300
_COST_LIMIT_S = 0.4
_MOST_SHARE = 0.2
_FASTEST_S = 0.001
_MEMORY_SCOPE, _MODULE_SCOPE = 2, 1


@dataclass(frozen=True, slots=True)
class Query:
    """A call of NVML whose answer is a whole number in the unit that its name ends with."""

    name: str
    read: Callable[[], int]
    every_s: float = _FASTEST_S
    """Time between two calls while polling, at least."""


def power_queries(handle: Any) -> tuple[Query, ...]:
    """All that may be polled, the instantaneous power first."""
    clock, celsius = pynvml.NVML_CLOCK_SM, pynvml.NVML_TEMPERATURE_GPU
    return (
        Query("instant_mw", partial(read_field, handle, pynvml.NVML_FI_DEV_POWER_INSTANT)),
        Query("energy_mj", partial(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle), 0.002),
        Query("average_mw", partial(read_field, handle, pynvml.NVML_FI_DEV_POWER_AVERAGE), 0.005),
        Query("plain_mw", partial(pynvml.nvmlDeviceGetPowerUsage, handle), 0.01),
        Query("sm_clock_mhz", partial(pynvml.nvmlDeviceGetClockInfo, handle, clock), 0.01),
        Query("temperature_c", partial(pynvml.nvmlDeviceGetTemperature, handle, celsius), 0.1),
    )


def other_queries(handle: Any) -> tuple[Query, ...]:
    """Asked once, to know whether the driver answers: the counter's field, and power of the module and of memory."""
    instant = pynvml.NVML_FI_DEV_POWER_INSTANT
    return (
        Query("energy_field_mj", partial(read_field, handle, pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION)),
        Query("module_instant_mw", partial(read_field, handle, (instant, _MODULE_SCOPE))),
        Query("memory_instant_mw", partial(read_field, handle, (instant, _MEMORY_SCOPE))),
        Query("limit_field_mw", partial(read_field, handle, pynvml.NVML_FI_DEV_POWER_CURRENT_LIMIT)),
        Query("event_reasons", lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)),
    )


def read_field(handle: Any, field: int | tuple[int, int]) -> int:
    """One field value, of a scope where one is given.

    Raises:
        pynvml.NVMLError: the driver does not tell it.
    """
    (answer,) = pynvml.nvmlDeviceGetFieldValues(handle, [field])
    if answer.nvmlReturn != pynvml.NVML_SUCCESS:
        raise pynvml.NVMLError(answer.nvmlReturn)
    return int(field_value(answer))


def answered(queries: Sequence[Query]) -> tuple[tuple[Query, ...], dict[str, dict[str, Any]]]:
    """Those that the driver answers, and of all of them the answer with its cost, or the error's name."""
    found: dict[str, dict[str, Any]] = {}
    kept = []
    for query in queries:
        try:
            value = query.read()
        except (pynvml.NVMLError, AttributeError) as error:  # AttributeError: pynvml has no such call
            found[query.name] = {"error": type(error).__name__}
            continue
        cost = cost_of(query)
        found[query.name] = {"value": value, **cost}
        kept.append(_paced(query, cost["median_us"] / 1e6))
    return tuple(kept), found


def cost_of(query: Query) -> dict[str, float]:
    """What a call takes, asked again and again."""
    taken_s: list[float] = []
    end_s = time.monotonic() + _COST_LIMIT_S
    n_errors = 0
    while len(taken_s) < _COST_CALLS and (begun_s := time.monotonic()) < end_s:
        try:
            query.read()
        except pynvml.NVMLError:
            n_errors += 1
        taken_s.append(time.monotonic() - begun_s)
    costs_us = np.array(taken_s) * 1e6
    return {
        "calls": len(taken_s),
        "errors": n_errors,
        "median_us": float(np.median(costs_us)),
        "p99_us": float(np.percentile(costs_us, 99)),
        "worst_us": float(costs_us.max()),
    }


def _paced(query: Query, cost_s: float) -> Query:
    """A call that is dear is made less often, lest it keep the instantaneous power from being polled."""
    if query.name == "instant_mw":
        return query
    return replace(query, every_s=max(query.every_s, cost_s / _MOST_SHARE))
