"""Polling queries in turn, as fast as they are due, in one thread."""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pynvml

from benchmarks.h200.sensor_queries import Query

Polled = dict[str, tuple[list[float], list[int]]]


@dataclass(frozen=True, slots=True)
class Poll:
    """Times (CLOCK_MONOTONIC, the middle of the call) and values by query, and how many calls failed, by error."""

    samples: Polled
    errors: dict[str, int] = field(default_factory=dict)


def poll(queries: Sequence[Query], until_s: float) -> Poll:
    """Polls until an instant; a query that fails has no sample then."""
    found = Poll({query.name: ([], []) for query in queries})
    due_s = [time.monotonic()] * len(queries)
    gc.disable()
    try:
        while time.monotonic() < until_s:
            for index, query in enumerate(queries):
                if time.monotonic() >= due_s[index]:
                    _read(query, found)
                    due_s[index] = max(due_s[index] + query.every_s, time.monotonic())
            wait_s = min(*due_s, until_s) - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
    finally:
        gc.enable()
    return found


def _read(query: Query, found: Poll) -> None:
    before_s = time.monotonic()
    try:
        value = query.read()
    except pynvml.NVMLError as error:
        told = f"{query.name}: {type(error).__name__}"
        found.errors[told] = found.errors.get(told, 0) + 1
        return
    times_s, values = found.samples[query.name]
    times_s.append((before_s + time.monotonic()) / 2)
    values.append(value)
