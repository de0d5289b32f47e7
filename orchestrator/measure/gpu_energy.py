"""Energy of one GPU between two instants, by its energy counter and by the integral of its power."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from orchestrator.measure.columns import Floats, GpuSamples, running_integral
from orchestrator.measure.counter import Counter
from orchestrator.measure.sensor_series import Edges, SensorSeries, fell_unobserved, gpu_readings

_ROUNDING_S = 1e-6


class PowerIntegral:
    """Integral of the power samples of one GPU, linear in between. Units: s, W, J.

    ``lag_s`` is the mean age of a sample when it was read.
    """

    def __init__(self, series: SensorSeries, lag_s: float = 0.0) -> None:
        self.series = series
        self._t_s, self._power_w, self._lag_s = series.t_s, series.values, lag_s
        self._integral_j = running_integral(series.t_s, series.values)

    def delta_j(self, edges: Edges) -> float:
        """Return the energy between two instants; NaN if one of them is not between samples."""
        start_s, end_s = (float(edge) + self._lag_s for edge in edges)
        if len(self._t_s) < 2 or edges[0] < self._t_s[0] - _ROUNDING_S or edges[1] > self._t_s[-1] + _ROUNDING_S:
            return float("nan")
        return self._until(end_s) - self._until(start_s)

    def peak_w(self, edges: Edges) -> float:
        """Return the largest sample between two instants, with interpolated samples at the edges."""
        inside = (self._t_s >= edges[0]) & (self._t_s <= edges[1])
        at_edges = np.interp(edges, self._t_s, self._power_w)
        return float(max(self._power_w[inside].max(initial=0.0), at_edges.max()))

    def _until(self, when_s: float) -> float:
        """Return the energy from the first sample to an instant; after the last sample at the power of that sample."""
        past_end_s = max(0.0, when_s - float(self._t_s[-1]))
        when_s = float(np.clip(when_s, self._t_s[0], self._t_s[-1]))
        index = min(int(np.searchsorted(self._t_s, when_s, side="right")) - 1, len(self._t_s) - 2)
        left_s, right_s = self._t_s[index], self._t_s[index + 1]
        past_end_j = past_end_s * float(self._power_w[-1])
        if right_s <= left_s:
            return float(self._integral_j[index]) + past_end_j
        slope = (self._power_w[index + 1] - self._power_w[index]) / (right_s - left_s)
        into_s = when_s - left_s
        return float(self._integral_j[index] + into_s * (self._power_w[index] + slope * into_s / 2)) + past_end_j


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuEnergy:
    """Energy of one GPU: by the counter, with the integral as its check; by the integral if the counter is unusable.

    ``falls_s`` are the times of the reads between which the counter fell for no known cause. If they are far apart, as
    when a driver was reloaded, the energy between them is unknown. A ``stuck`` counter was read and never changed.
    """

    device: str
    counter: Counter | None
    integral: PowerIntegral | None
    falls_s: tuple[Edges, ...] = ()
    span_s: Edges
    sampled: bool
    stuck: bool = False

    def energy_j(self, edges: Edges) -> float:
        """Return the energy of the GPU; NaN if it was not measured from one edge to the other."""
        return self._counter_j(edges) if self.counted(edges) else self.integral_j(edges)

    def between_j(self, when_s: Floats) -> Floats:
        """Return the energy from each of some times to the next, all from one source; shape (times - 1,)."""
        if self.counter is not None and self.counted((float(when_s[0]), float(when_s[-1]))):
            return self.counter.deltas_j(when_s)
        return np.array([self.integral_j((float(a), float(b))) for a, b in pairwise(when_s)])

    def counted(self, edges: Edges) -> bool:
        """Return whether the energy is that of the counter."""
        return not self.falls_within(edges) and not np.isnan(self._counter_j(edges))

    def falls_within(self, edges: Edges) -> tuple[Edges, ...]:
        """Return the falls of the counter that overlap the window."""
        return tuple((from_s, to_s) for from_s, to_s in self.falls_s if from_s < edges[1] and to_s > edges[0])

    def integral_j(self, edges: Edges) -> float:
        """Return the energy by the integral; NaN if the counter fell in a long pause of the samples."""
        if self.integral is None or fell_unobserved(self.falls_within(edges)):
            return float("nan")
        return self.integral.delta_j(edges)

    def uncertainty_j(self, edges: Edges) -> float:
        """Return the uncertainty of `energy_j` from the window's edges; NaN without a usable counter."""
        if self.counter is None or not self.counted(edges):
            return float("nan")
        return self.counter.uncertainty_j(edges)

    def peak_w(self, edges: Edges) -> float:
        """Return the largest power sample; NaN without any."""
        return float("nan") if self.integral is None else self.integral.peak_w(edges)

    def counter_unchanged_s(self, edges: Edges) -> float:
        """Return the longest time in which a sensor's counter was read and did not change; 0 without a counter."""
        if not self.sampled or self.counter is None:
            return edges[1] - edges[0] if self.sampled and self.stuck else 0.0
        return self.counter.longest_unchanged_s(edges)

    def _counter_j(self, edges: Edges) -> float:
        return float("nan") if self.counter is None else self.counter.delta_j(edges)


def gpu_energy(samples: GpuSamples, *, computed: bool) -> GpuEnergy:
    """Return the energy of a GPU from its samples; ``computed`` samples are exact, others come from a sensor."""
    readings = gpu_readings(samples)
    counter = Counter.computed(readings.counter) if computed else Counter.sampled(readings.counter)
    power, n_counted = readings.power, len(readings.counter)
    return GpuEnergy(
        device=samples.device,
        counter=counter if n_counted > 1 else None,
        integral=PowerIntegral(power, 0.0 if computed else power.lag_s) if len(power) > 1 else None,
        falls_s=readings.falls_s,
        span_s=(float(samples.t_s[0]), float(samples.t_s[-1])),
        sampled=not computed,
        stuck=counter is None and n_counted > 1,
    )
