"""An energy counter read more often than it moves: energy between any two instants, and what that leaves open."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orchestrator.measure.columns import Floats
from orchestrator.measure.thresholds import COUNTER_RANGES_J, LONGEST_BRIDGED_S

_MAX_MENDED_W = 2000.0
"""No GPU draws more: a fall that would mean more is no wrap."""

_UPDATE_S = 0.2
"""What a read holds may be as old."""

_OVERHANG_UPDATES = 2
"""So many updates beyond the last one seen, the counter is taken to go on as it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """Knots of the counter, linear in between. Shapes (knots,).

    A sensor's counter stands still between updates: a read that differs only says that an update was since the read
    before. A knot lies halfway between the two, half a usual update before the later one at most, and may be
    ``timing_s`` earlier or later. From ``still_from_s`` to ``still_to_s`` (shape (knots + 1,)) it was read and did not
    move. A computed counter is exact at every sample.
    """

    t_s: Floats
    energy_j: Floats
    timing_s: Floats
    still_from_s: Floats
    still_to_s: Floats

    @classmethod
    def sampled(cls, t_s: Floats, energy_j: Floats) -> "Counter | None":
        """Of reads of a sensor; None where it was never seen to move twice. Wraps are to be mended before."""
        moved = np.flatnonzero(np.diff(energy_j) != 0) + 1
        if len(moved) < 2:
            return None
        before_s, after_s = t_s[moved - 1], t_s[moved]
        timing_s = np.minimum(after_s - before_s, np.median(np.diff(after_s))) / 2
        return cls(
            t_s=after_s - timing_s,
            energy_j=energy_j[moved],
            timing_s=timing_s,
            still_from_s=np.concatenate([t_s[:1], after_s]),
            still_to_s=np.concatenate([before_s, t_s[-1:]]),
        )

    @classmethod
    def computed(cls, t_s: Floats, energy_j: Floats) -> "Counter":
        """Of samples that are exact."""
        never = np.zeros(0)
        return cls(t_s=t_s, energy_j=energy_j, timing_s=np.zeros(len(t_s)), still_from_s=never, still_to_s=never)

    def delta_j(self, edges: tuple[float, float]) -> float:
        """Energy between two instants; NaN where the counter was not seen to move around them."""
        start_j, end_j = (self._at(when_s) for when_s in edges)
        return end_j - start_j

    def deltas_j(self, when_s: Floats) -> Floats:
        """The same from each of some times to the next; shape (times - 1,)."""
        at_j = np.interp(when_s, self.t_s, self.energy_j)
        for index in np.flatnonzero((when_s < self.t_s[0]) | (when_s > self.t_s[-1])):
            at_j[index] = self._at(float(when_s[index]))
        return np.asarray(np.diff(at_j), dtype=np.float64)

    def uncertainty_j(self, edges: tuple[float, float]) -> float:
        """By how much `delta_j` may be off at most for what is not known of its edges; the sensor's gain not counted.

        At each edge: the power there times how late the update may have been seen, and a quarter of the distance of
        the knots times the swing of power around it, the most by which a line between the knots can miss.
        """
        return sum(self._open_at(when_s) for when_s in edges)

    def stands_s(self, edges: tuple[float, float]) -> float:
        """The longest time in the window in which it was read and did not change; gaps between reads do not count."""
        inside_s = np.minimum(self.still_to_s, edges[1]) - np.maximum(self.still_from_s, edges[0])
        return float(np.max(inside_s, initial=0.0))

    def _segment(self, when_s: float) -> int:
        return int(np.clip(np.searchsorted(self.t_s, when_s, side="right") - 1, 0, len(self.t_s) - 2))

    def _power_w(self, segment: int) -> float:
        length_s = self.t_s[segment + 1] - self.t_s[segment]
        return float((self.energy_j[segment + 1] - self.energy_j[segment]) / length_s) if length_s > 0 else 0.0

    def _at(self, when_s: float) -> float:
        if len(self.t_s) < 2:
            return float("nan")
        beyond_s = max(self.t_s[0] - when_s, when_s - self.t_s[-1])
        if beyond_s <= 0:
            return float(np.interp(when_s, self.t_s, self.energy_j))
        if beyond_s > _OVERHANG_UPDATES * float(np.median(np.diff(self.t_s))):
            return float("nan")
        segment = self._segment(when_s)
        return float(self.energy_j[segment] + (when_s - self.t_s[segment]) * self._power_w(segment))

    def _open_at(self, when_s: float) -> float:
        segment = self._segment(when_s)
        around = range(max(segment - 1, 0), min(segment + 2, len(self.t_s) - 1))
        powers_w = [self._power_w(index) for index in around]
        length_s = float(self.t_s[segment + 1] - self.t_s[segment])
        late_s = float(max(self.timing_s[segment], self.timing_s[segment + 1]))
        return self._power_w(segment) * late_s + (max(powers_w) - min(powers_w)) * length_s / 4


def mended(t_s: Floats, energy_j: Floats) -> tuple[Floats, tuple[tuple[float, float], ...]]:
    """The counter without its wraps, and between which reads it fell for no known cause. Units: J, s; shape (reads,).

    A driver that is loaded again begins at 0, which is a fall unless it was loaded for less time than it was then gone.
    """
    energy_j, falls_s = energy_j.copy(), []
    for index in np.flatnonzero(np.diff(energy_j) < 0) + 1:
        most_j = _MAX_MENDED_W * (t_s[index] - t_s[index - 1] + _UPDATE_S)
        fall_j = energy_j[index - 1] - energy_j[index]
        fitting = [range_j for range_j in COUNTER_RANGES_J if 0 <= range_j - fall_j <= most_j]
        if not fitting:
            falls_s.append((float(t_s[index - 1]), float(t_s[index])))
        energy_j[index:] += fitting[0] if fitting else fall_j
    return energy_j, tuple(falls_s)


def blind(falls_s: Iterable[tuple[float, float]]) -> bool:
    """Whether a counter fell while nobody looked for so long that no integral of power tells what was used."""
    return any(to_s - from_s > LONGEST_BRIDGED_S for from_s, to_s in falls_s)
