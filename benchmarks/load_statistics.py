"""Statistics of the comparison with another load generator: paired differences, and the delay of sent requests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.measure.statistics import mean_of

BOUND_MS = 5.0
"""A client keeps its schedule if 99 % of its requests are less late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Mean difference of the first from the second, and half of its 95 % interval; as shares of the second's mean."""

    difference: float
    half_width: float

    @property
    def is_seen(self) -> bool:
        """Whether the interval excludes zero."""
        return abs(self.difference) > self.half_width

    def is_within(self, share: float = 0.05) -> bool:
        """Return whether the interval excludes all differences above ``share``."""
        return abs(self.difference) + self.half_width <= share


def paired_difference(pairs: Sequence[tuple[float, float]]) -> PairedDifference:
    """Return the mean difference of at least two pairs."""
    ours, theirs = np.asarray(pairs, dtype=float).T
    mean = mean_of(ours - theirs)
    assert mean.half_width is not None
    scale = theirs.mean()
    return PairedDifference(difference=float(mean.value / scale), half_width=float(mean.half_width / scale))


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
    """Return how late the requests of a run arrived, counted from the most punctual one; ``arrived_s`` ascends."""
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
