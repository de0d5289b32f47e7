"""Energy between any two instants by an energy counter that is read more often than it changes, and the uncertainty."""

from dataclasses import dataclass

import numpy as np

from orchestrator.measure.columns import Floats
from orchestrator.measure.sensor_series import Edges, SensorSeries

_MAX_EXTRAPOLATED_UPDATES = 2
"""Extrapolate at most this many update periods past the first and the last knot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """Knots of the counter, linear in between. Shapes (knots,).

    A sensor's counter does not change between updates: a read that differs only shows that an update was after the
    read before. A knot lies halfway between the two reads, at most half a usual update period before the later one, and
    may be ``timing_s`` earlier or later. From ``still_from_s`` to ``still_to_s`` (shape (knots + 1,)) the counter was
    read and did not change. A computed counter is exact at every sample.
    """

    t_s: Floats
    energy_j: Floats
    timing_s: Floats
    still_from_s: Floats
    still_to_s: Floats

    @classmethod
    def sampled(cls, series: SensorSeries) -> "Counter | None":
        """Return the counter of a sensor's reads without wraps; None if they did not change twice."""
        t_s, changed = series.t_s, series.changed
        if len(changed) < 2:
            return None
        before_s, after_s = t_s[changed - 1], t_s[changed]
        timing_s = np.minimum(after_s - before_s, np.median(np.diff(after_s))) / 2
        return cls(
            t_s=after_s - timing_s,
            energy_j=series.values[changed],
            timing_s=timing_s,
            still_from_s=np.concatenate([t_s[:1], after_s]),
            still_to_s=np.concatenate([before_s, t_s[-1:]]),
        )

    @classmethod
    def computed(cls, series: SensorSeries) -> "Counter":
        """Return the counter of samples that are exact."""
        none, exact_s = np.zeros(0), np.zeros(len(series))
        return cls(t_s=series.t_s, energy_j=series.values, timing_s=exact_s, still_from_s=none, still_to_s=none)

    def delta_j(self, edges: Edges) -> float:
        """Return the energy between two instants; NaN if the counter did not change before and after them."""
        start_j, end_j = (self._at(when_s) for when_s in edges)
        return end_j - start_j

    def deltas_j(self, when_s: Floats) -> Floats:
        """Return the energy from each of some times to the next; shape (times - 1,)."""
        at_j = np.interp(when_s, self.t_s, self.energy_j)
        for index in np.flatnonzero((when_s < self.t_s[0]) | (when_s > self.t_s[-1])):
            at_j[index] = self._at(float(when_s[index]))
        return np.asarray(np.diff(at_j), dtype=np.float64)

    def uncertainty_j(self, edges: Edges) -> float:
        """Return the largest error of `delta_j` that comes from its edges; the sensor's gain is not included.

        At each edge: the power there times the largest delay with which the update was seen, and a quarter of the
        distance of the knots times the range of power around the edge, the largest error of a line between two knots.
        """
        return sum(self._uncertainty_at(when_s) for when_s in edges)

    def longest_unchanged_s(self, edges: Edges) -> float:
        """Return the longest time in the window in which reads did not change; gaps between reads do not count."""
        inside_s = np.minimum(self.still_to_s, edges[1]) - np.maximum(self.still_from_s, edges[0])
        return float(np.max(inside_s, initial=0.0))

    def _at(self, when_s: float) -> float:
        if len(self.t_s) < 2:
            return float("nan")
        beyond_s = max(self.t_s[0] - when_s, when_s - self.t_s[-1])
        if beyond_s <= 0:
            return float(np.interp(when_s, self.t_s, self.energy_j))
        if beyond_s > _MAX_EXTRAPOLATED_UPDATES * float(np.median(np.diff(self.t_s))):
            return float("nan")
        segment = self._segment(when_s)
        return float(self.energy_j[segment] + (when_s - self.t_s[segment]) * self._power_w(segment))

    def _uncertainty_at(self, when_s: float) -> float:
        segment = self._segment(when_s)
        around = range(max(segment - 1, 0), min(segment + 2, len(self.t_s) - 1))
        powers_w = [self._power_w(index) for index in around]
        length_s = float(self.t_s[segment + 1] - self.t_s[segment])
        late_s = float(max(self.timing_s[segment], self.timing_s[segment + 1]))
        return self._power_w(segment) * late_s + (max(powers_w) - min(powers_w)) * length_s / 4

    def _segment(self, when_s: float) -> int:
        return int(np.clip(np.searchsorted(self.t_s, when_s, side="right") - 1, 0, len(self.t_s) - 2))

    def _power_w(self, segment: int) -> float:
        length_s = self.t_s[segment + 1] - self.t_s[segment]
        return float((self.energy_j[segment + 1] - self.energy_j[segment]) / length_s) if length_s > 0 else 0.0
