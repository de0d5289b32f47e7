"""How late the requests of a run reached the server."""

from dataclasses import dataclass

import numpy as np

BOUND_MS = 5.0
"""A client keeps its schedule if 99 of 100 requests are less late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One run of a client at one rate. Units: 1/s, ms."""

    client: str
    rate: float
    reached: float
    median_delay_ms: float
    p99_delay_ms: float

    @property
    def kept(self) -> bool:
        """Whether the client kept its schedule."""
        return self.p99_delay_ms < BOUND_MS


def level_of(client: str, rate: float, arrived_s: list[float]) -> Level:
    """How late the requests of a run arrived; ``arrived_s`` in the order of the server's clock."""
    times_s = np.asarray(arrived_s)
    late_s = times_s - np.arange(len(times_s)) / rate
    delay_ms = (late_s - late_s.min()) * 1e3
    return Level(
        client=client,
        rate=rate,
        reached=(len(times_s) - 1) / float(times_s[-1] - times_s[0]),
        median_delay_ms=float(np.median(delay_ms)),
        p99_delay_ms=float(np.percentile(delay_ms, 99)),
    )
