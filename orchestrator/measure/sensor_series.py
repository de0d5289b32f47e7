"""Reads of one GPU's sensor: when a reading was updated, how late it is, and a counter without its wraps.

A sensor shows a value until its next update, and a sampler may read it more often than that. Energy of a window
(`orchestrator.measure.gpu_energy`) and attribution (`orchestrator.attribution.readings`) both start from these series.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collectors.update_period import changed_samples
from orchestrator.measure.columns import Floats, GpuSamples

Edges = tuple[float, float]

LONGEST_UPDATE_S = 0.1
"""The longest update period of any known GPU (arXiv 2312.02741): if reads differ less often, power is constant."""

_MIN_UPDATES = 10
"""Fewest changes of the reads that determine the update period."""

_SAMPLING_LIMITED_SHARE = 0.8
"""If more of the reads than this differ from the one before, the sensor updates at least as often as it is read."""

_EARLY_PERIODS = 0.3
_SLACK = 1.01
"""An update comes at most this share of a period early, and its time drifts at most by this factor."""

_COUNTER_RANGES_J = (2**32 / 1e3,)
"""Values at which energy counters are known to start again at 0: 32 bits of millijoules."""

_MAX_POWER_W = 2000.0
"""No GPU draws more, so a fall that would need more power is not a wrap."""

_MAX_READ_AGE_S = 0.2
"""Maximum age of a counter reading."""

_MAX_BRIDGED_S = 1.0
"""Longest pause of the samples over which the integral of power is used although the counter fell in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Updates:
    """Updates of a reading: the first read of each, and when the update was.

    ``period_s`` is None if the sensor updates at least as often as it is read. Shapes (updates,).
    """

    sample: npt.NDArray[np.intp]
    t_s: Floats
    period_s: float | None


@dataclass(frozen=True, slots=True)
class SensorSeries:
    """Values that were read of a sensor, in order of time. Units: s, and that of the reading; shapes (reads,)."""

    t_s: Floats
    values: Floats

    @classmethod
    def known(cls, t_s: Floats, values: Floats) -> "SensorSeries":
        """Return the series without the reads that gave no value (NaN)."""
        known = ~np.isnan(values)
        return cls(t_s[known], values[known])

    def __len__(self) -> int:
        return len(self.t_s)

    @property
    def changed(self) -> npt.NDArray[np.intp]:
        """Indices of the reads that differ from the one before."""
        return changed_samples(self.values)

    @property
    def sampling_limited(self) -> bool:
        """Whether the sensor updates at least as often as it is read."""
        return len(self) > 1 and len(self.changed) / (len(self) - 1) > _SAMPLING_LIMITED_SHARE

    @property
    def update_period_s(self) -> float:
        """Usual time between two values: the sensor's update period, or the sampling period if that is longer."""
        changed = self.changed
        between_s = float(np.median(np.diff(self.t_s[changed]))) if len(changed) >= _MIN_UPDATES else LONGEST_UPDATE_S
        return max(float(np.median(np.diff(self.t_s))), min(between_s, LONGEST_UPDATE_S))

    @property
    def lag_s(self) -> float:
        """Mean age of a read: half an update period, because a value is shown until the next update."""
        return 0.0 if self.sampling_limited else self.update_period_s / 2

    def updates(self) -> Updates:
        """Return the first read and all that differ from the one before, with estimated times of the updates.

        If a sampler reads at about the time of an update, it sees some at once and others one read later. So an update
        is assumed to be at most one period after the one before. If the last read before it contradicts that, the time
        at which it was seen is kept.
        """
        sample = np.concatenate([[0], self.changed])
        seen_s = self.t_s[sample]
        if len(sample) < 3 or self.sampling_limited:
            return Updates(sample=sample, t_s=seen_s, period_s=None)
        period_s = float(np.median(np.diff(seen_s)))
        estimated_s = [float(seen_s[0])]
        for seen in seen_s[1:].tolist():
            periods = max(1, math.floor((seen - estimated_s[-1]) / period_s + _EARLY_PERIODS))
            estimated_s.append(min(seen, estimated_s[-1] + periods * period_s * _SLACK))
        updated_s, before_s = np.array(estimated_s), self.t_s[np.maximum(sample - 1, 0)]
        possible = (updated_s > before_s) | (sample == 0)
        return Updates(sample=sample, t_s=np.where(possible, updated_s, seen_s), period_s=period_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReadings:
    """Energy counter and power of one GPU.

    ``counter`` is without wraps and falls; ``falls_s`` are the times of the reads before and after each fall.
    """

    counter: SensorSeries
    power: SensorSeries
    falls_s: tuple[Edges, ...]


def gpu_readings(samples: GpuSamples) -> GpuReadings:
    """Return what the samples of a GPU hold of its energy."""
    counter, falls_s = without_wraps(SensorSeries.known(samples.t_s, samples.energy_j))
    power = SensorSeries.known(samples.t_s, samples.power_w)
    return GpuReadings(counter=counter, power=power, falls_s=falls_s)


def without_wraps(counter: SensorSeries) -> tuple[SensorSeries, tuple[Edges, ...]]:
    """Return the counter without wraps and falls, and the times of the reads around each fall of unknown cause.

    The counter of a driver that is reloaded starts at 0 again. That is a fall, unless the new counter passed the old
    value before the next read.
    """
    t_s, energy_j, falls_s = counter.t_s, counter.values.copy(), []
    for index in np.flatnonzero(np.diff(energy_j) < 0) + 1:
        most_j = _MAX_POWER_W * (t_s[index] - t_s[index - 1] + _MAX_READ_AGE_S)
        fall_j = energy_j[index - 1] - energy_j[index]
        wraps_j = [range_j for range_j in _COUNTER_RANGES_J if 0 <= range_j - fall_j <= most_j]
        if not wraps_j:
            falls_s.append((float(t_s[index - 1]), float(t_s[index])))
        energy_j[index:] += wraps_j[0] if wraps_j else fall_j
    return SensorSeries(t_s, energy_j), tuple(falls_s)


def fell_unobserved(falls_s: Iterable[Edges]) -> bool:
    """Return whether the counter fell in a pause of the samples that is too long for an integral of power."""
    return any(to_s - from_s > _MAX_BRIDGED_S for from_s, to_s in falls_s)
