"""Energy of one GPU between two instants, by its counter and by the integral of its power."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from orchestrator.measure.columns import Floats, GpuSamples
from orchestrator.measure.counter import Counter, blind, mended

Edges = tuple[float, float]

_MIN_UPDATES = 10
"""Fewer changes of the samples do not tell how often the sensor updates."""

LONGEST_UPDATE_S = 0.1
"""No GPU's sensor is known to update less often (arXiv 2312.02741): where samples differ less often, power is flat."""

_ROUNDING_S = 1e-6
_ALL = 0.8
"""Where more of the reads than this differ from the one before, the sensor updates at least as often as it is read."""


class PowerIntegral:
    """Power samples of one GPU, linear in between. Units: s, W, J.

    ``lag_s`` is by how much a sample is older than the time it was read at, on average.
    """

    def __init__(self, t_s: Floats, power_w: Floats, lag_s: float = 0.0) -> None:
        self.t_s, self.power_w, self.lag_s = t_s, power_w, lag_s
        step_j = (power_w[1:] + power_w[:-1]) / 2 * np.diff(t_s)
        self._integral_j = np.concatenate([[0.0], np.cumsum(step_j)])

    def delta_j(self, edges: tuple[float, float]) -> float:
        """Energy between two instants; NaN where one of them is not between samples."""
        start_s, end_s = (float(edge) + self.lag_s for edge in edges)
        if len(self.t_s) < 2 or edges[0] < self.t_s[0] - _ROUNDING_S or edges[1] > self.t_s[-1] + _ROUNDING_S:
            return float("nan")
        return self._to(end_s) - self._to(start_s)

    def peak_w(self, edges: tuple[float, float]) -> float:
        """The largest sample between two instants, those at the edges interpolated."""
        inside = (self.t_s >= edges[0]) & (self.t_s <= edges[1])
        at_edges = np.interp(edges, self.t_s, self.power_w)
        return float(max(self.power_w[inside].max(initial=0.0), at_edges.max()))

    def _to(self, when_s: float) -> float:
        past_end_s = max(0.0, when_s - float(self.t_s[-1]))
        when_s = float(np.clip(when_s, self.t_s[0], self.t_s[-1]))
        index = min(int(np.searchsorted(self.t_s, when_s, side="right")) - 1, len(self.t_s) - 2)
        left_s, right_s = self.t_s[index], self.t_s[index + 1]
        beyond_j = past_end_s * float(self.power_w[-1])
        if right_s <= left_s:
            return float(self._integral_j[index]) + beyond_j
        slope = (self.power_w[index + 1] - self.power_w[index]) / (right_s - left_s)
        past_s = when_s - left_s
        return float(self._integral_j[index] + past_s * (self.power_w[index] + slope * past_s / 2)) + beyond_j


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuEnergy:
    """The counter is primary and the integral its check; where there is no counter that can be used, the integral is.

    ``falls_s`` are the reads between which the counter fell for no known cause: where nobody looked for long between
    them, as while a driver is loaded again, nothing is known of the energy. A ``stuck`` counter never moved.
    """

    device: str
    counter: Counter | None
    integral: PowerIntegral | None
    falls_s: tuple[Edges, ...] = ()
    span_s: Edges
    sampled: bool
    stuck: bool = False

    def energy_j(self, edges: Edges) -> float:
        """Energy of the GPU; NaN where it was not measured from one edge to the other."""
        if self.counted(edges):
            assert self.counter is not None
            return self.counter.delta_j(edges)
        return self.integral_j(edges)

    def between_j(self, when_s: Floats) -> Floats:
        """Energy from each of some times to the next, all by what measures the whole of it; shape (times - 1,)."""
        if self.counted((float(when_s[0]), float(when_s[-1]))):
            assert self.counter is not None
            return self.counter.deltas_j(when_s)
        return np.array([self.integral_j((float(a), float(b))) for a, b in pairwise(when_s)])

    def counted(self, edges: Edges) -> bool:
        """Whether the energy is that of the counter."""
        if self.counter is None or self.falls_within(edges):
            return False
        return not np.isnan(self.counter.delta_j(edges))

    def falls_within(self, edges: Edges) -> tuple[Edges, ...]:
        """Falls of the counter that the window has a part of."""
        return tuple((from_s, to_s) for from_s, to_s in self.falls_s if from_s < edges[1] and to_s > edges[0])

    def integral_j(self, edges: Edges) -> float:
        """Energy by the integral alone; NaN where it would have to bridge what nobody saw."""
        if self.integral is None or blind(self.falls_within(edges)):
            return float("nan")
        return self.integral.delta_j(edges)

    def uncertainty_j(self, edges: Edges) -> float:
        """What the edges leave open of `energy_j`; NaN where there is no counter to tell."""
        if not self.counted(edges):
            return float("nan")
        assert self.counter is not None
        return self.counter.uncertainty_j(edges)

    def peak_w(self, edges: Edges) -> float:
        """The largest power sample; NaN without any."""
        return float("nan") if self.integral is None else self.integral.peak_w(edges)

    def counter_stands_s(self, edges: Edges) -> float:
        """How long a sensor's counter was read and did not move, at most; 0 where there is none. Units: s."""
        if not self.sampled or self.counter is None:
            return edges[1] - edges[0] if self.sampled and self.stuck else 0.0
        return self.counter.stands_s(edges)


def gpu_energy(samples: GpuSamples, *, computed: bool) -> GpuEnergy:
    """Of the samples of a GPU; ``computed`` ones are exact, others a sensor's."""
    counter, falls_s = _counter(samples, computed)
    t_s, power_w = _known(samples.t_s, samples.power_w)
    integral = PowerIntegral(t_s, power_w, 0.0 if computed else lag_of(t_s, power_w)) if len(t_s) > 1 else None
    return GpuEnergy(
        device=samples.device,
        counter=counter,
        integral=integral,
        falls_s=falls_s,
        span_s=(float(samples.t_s[0]), float(samples.t_s[-1])),
        sampled=not computed,
        stuck=counter is None and bool((~np.isnan(samples.energy_j)).sum() > 1),
    )


def _counter(samples: GpuSamples, computed: bool) -> tuple[Counter | None, tuple[Edges, ...]]:
    t_s, energy_j = _known(samples.t_s, samples.energy_j)
    if len(t_s) < 2:
        return None, ()
    if computed:
        return Counter.computed(t_s, energy_j), ()
    energy_j, falls_s = mended(t_s, energy_j)
    return Counter.sampled(t_s, energy_j), falls_s


def _known(t_s: Floats, values: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(values)
    return t_s[known], values[known]


def update_period_s(t_s: Floats, power_w: Floats) -> float:
    """How far apart two looks of the sensor are that we see: its own update period, or that of reads if longer.

    From how often reads differ; as long as any sensor's where they do too rarely to tell. Units: s.
    """
    moved = np.flatnonzero(np.diff(power_w) != 0) + 1
    between_s = float(np.median(np.diff(t_s[moved]))) if len(moved) >= _MIN_UPDATES else LONGEST_UPDATE_S
    return max(float(np.median(np.diff(t_s))), min(between_s, LONGEST_UPDATE_S))


def lag_of(t_s: Floats, power_w: Floats) -> float:
    """Half an update period where reads repeat what the sensor said before: a value is shown until the next comes."""
    if np.mean(np.diff(power_w) != 0) > _ALL:
        return 0.0
    return update_period_s(t_s, power_w) / 2
