"""Time intervals against a window: overlaps, gaps, and the value of a counter at an edge."""

import numpy as np

from orchestrator.measure.columns import Columns, Floats


def overlap_ratio(start_s: Floats, end_s: Floats, window: tuple[float, float]) -> Floats:
    """Share of each interval that lies in the window; an instant counts whole if it is inside. Shape (n,)."""
    length_s = end_s - start_s
    inside_s = np.minimum(end_s, window[1]) - np.maximum(start_s, window[0])
    instant = (start_s >= window[0]) & (start_s <= window[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(length_s > 0, np.clip(inside_s, 0, None) / length_s, instant)


def gaps(start_s: Floats, end_s: Floats, window: tuple[float, float]) -> list[tuple[float, float]]:
    """The parts of the window that no interval covers, in order."""
    found: list[tuple[float, float]] = []
    reached_s = window[0]
    for index in np.argsort(start_s, kind="stable"):
        begin_s = min(float(start_s[index]), window[1])
        if begin_s > reached_s:
            found.append((reached_s, begin_s))
        reached_s = max(reached_s, float(end_s[index]))
    if reached_s < window[1]:
        found.append((reached_s, window[1]))
    return found


class PowerSeries:
    """The power samples of one device, read between samples. Units: s, W, J."""

    def __init__(self, t_s: Floats, power_w: Floats, counter_j: Floats) -> None:
        self.t_s, self.power_w, self.counter_j = t_s, power_w, counter_j
        step_j = (power_w[1:] + power_w[:-1]) / 2 * np.diff(t_s)
        self._integral_j = np.concatenate([[0.0], np.cumsum(step_j)])

    @classmethod
    def by_device(cls, power: Columns) -> "list[PowerSeries]":
        """One series a device, from `orchestrator.series.POWER`."""
        devices = power.strings("device")
        columns = [power.floats(name) for name in ("t_s", "power_w", "energy_j")]
        return [cls(*(column[devices == device] for column in columns)) for device in dict.fromkeys(devices)]

    def counter_delta_j(self, window: tuple[float, float]) -> float:
        """Energy of the window by the device's counter, interpolated at the edges."""
        start_j, end_j = np.interp(window, self.t_s, self.counter_j)
        return float(end_j - start_j)

    def integral_j(self, window: tuple[float, float]) -> float:
        """Energy of the window as the trapezoidal integral of power, edges interpolated."""
        return self._integral_to(window[1]) - self._integral_to(window[0])

    def _integral_to(self, when_s: float) -> float:
        when_s = float(np.clip(when_s, self.t_s[0], self.t_s[-1]))
        index = min(int(np.searchsorted(self.t_s, when_s, side="right")) - 1, len(self.t_s) - 2)
        left_s, right_s = self.t_s[index], self.t_s[index + 1]
        if right_s <= left_s:
            return float(self._integral_j[index])
        slope = (self.power_w[index + 1] - self.power_w[index]) / (right_s - left_s)
        past_s = when_s - left_s
        return float(self._integral_j[index] + past_s * (self.power_w[index] + slope * past_s / 2))
