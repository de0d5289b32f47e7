"""The integral of power samples over a window, edges interpolated."""

import numpy as np

from orchestrator.measure.columns import Floats

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
