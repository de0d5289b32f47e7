"""A power source with readings that a test defines."""

import time
from collections.abc import Callable
from typing import Literal

from collectors.errors import CollectorError
from collectors.source import Reading


def steady(power_w: float = 100.0, **columns: float) -> Callable[[float], Reading]:
    return lambda now_s: Reading(now_s, {"power_w": power_w, **columns})


def failing(error: Exception) -> Callable[[float], Reading]:
    def fail(_now_s: float) -> Reading:
        raise error

    return fail


class PlayedSource:
    """Each device has a function of the time that returns its reading; a test may replace it at any time."""

    def __init__(
        self, answers: dict[str, Callable[[float], Reading]], series: Literal["power", "cpu_power"] = "power"
    ) -> None:
        self.answers = answers
        self.series = series
        self.pids: dict[str, tuple[int, ...] | CollectorError] = {}
        self.read_at_s: dict[str, list[float]] = {device: [] for device in answers}
        self.n_listings = 0
        self.n_open = 0

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(self.answers)

    def __enter__(self):
        self.n_open += 1
        return self

    def __exit__(self, *_exception):
        self.n_open -= 1

    def read(self, device: str) -> Reading:
        now_s = time.monotonic()
        self.read_at_s[device].append(now_s)
        return self.answers[device](now_s)

    def processes(self, device: str) -> tuple[int, ...]:
        self.n_listings += 1
        pids = self.pids.get(device, ())
        if isinstance(pids, CollectorError):
            raise pids
        return pids
