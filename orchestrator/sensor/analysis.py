"""Properties of a power sensor from its readings: pure functions of arrays.

The model of a sensor is the one of arXiv 2312.02741: every update shows the mean power of a window that ended some time
ago. Window and delay are those that explain the readings best while a load of two levels switches on and off. Times are
in s; ``edges_s`` has shape (n, 2): when the load was switched on and off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from math import gcd, isfinite

import numpy as np

from collectors.update_period import changed_samples
from orchestrator.measure.columns import Floats
from orchestrator.measure.counter import Counter
from orchestrator.measure.gpu_energy import PowerIntegral, lag_of

_MIN_CHANGES = 6
_MAX_FITTED = 5000
_SHORTEST_WINDOW_S = 1e-4
_MILLI = 1000


@dataclass(frozen=True, slots=True)
class SensorFit:
    """The window, delay and two power levels that explain readings best; ``r2``: share of the variance explained."""

    window_s: float
    delay_s: float
    low_w: float
    high_w: float
    r2: float


class OnTime:
    """How long the load has been on until an instant; linear between edges."""

    def __init__(self, edges_s: Floats) -> None:
        self._edges_s = edges_s.ravel()
        on_s = np.cumsum(edges_s[:, 1] - edges_s[:, 0])
        self._on_s = np.column_stack((np.concatenate(([0.0], on_s[:-1])), on_s)).ravel()

    def at(self, t_s: Floats) -> Floats:
        """Return the time on until each of ``t_s``."""
        return np.asarray(np.interp(t_s, self._edges_s, self._on_s))

    def share(self, start_s: Floats, end_s: Floats) -> Floats:
        """Return the share of each span in which the load was on."""
        return np.asarray((self.at(end_s) - self.at(start_s)) / (end_s - start_s))


def changes(spans: Iterable[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Return when new values were first seen, and the values; spans were not polled in between."""
    found = [(t_s[index], values[index]) for t_s, values in spans for index in [changed_samples(values)]]
    t_s, values = zip(*found, strict=True) if found else ((np.empty(0),), (np.empty(0),))
    return np.concatenate(t_s), np.concatenate(values)


def resolution(values: Floats) -> float | None:
    """Return the largest step, in thousandths of the unit, of which all changes are multiples."""
    steps = np.unique(np.abs(np.diff(np.round(values * _MILLI).astype(np.int64))))
    steps = steps[steps > 0]
    return None if len(steps) == 0 else reduce(gcd, (int(step) for step in steps)) / _MILLI


def integral_mean_w(t_s: Floats, power_w: Floats, span: tuple[float, float]) -> float | None:
    """Return the mean power of a span by integrating samples, as for a cell; None if they do not cover it."""
    if len(t_s) < 2:
        return None
    return _known(PowerIntegral(t_s, power_w, lag_of(t_s, power_w)).delta_j(span) / (span[1] - span[0]))


def counter_mean_w(t_s: Floats, energy_j: Floats, span: tuple[float, float]) -> float | None:
    """Return the mean power of a span by the energy counter, as for a cell; None if it does not cover the span."""
    counter = Counter.sampled(t_s, energy_j)
    return None if counter is None else _known(counter.delta_j(span) / (span[1] - span[0]))


def between_updates(t_s: Floats, energy_j: Floats, span: tuple[float, float]) -> tuple[float, float]:
    """Shorten a span so that it begins and ends as the counter moves: nothing is interpolated there."""
    moved_s, _ = changes([(t_s, energy_j)])
    inside_s = moved_s[(moved_s >= span[0]) & (moved_s <= span[1])]
    return (float(inside_s[0]), float(inside_s[-1])) if len(inside_s) > 1 else span


def fit_window(
    changed_s: Floats, power_w: Floats, edges_s: Floats, *, max_window_s: float, max_delay_s: float
) -> SensorFit | None:
    """Fit window and delay of a power reading, by a coarse and a fine grid.

    Args:
        changed_s: When the reading changed; a value that is held says nothing new.
        power_w: The new values.
        edges_s: Of the load.
        max_window_s: The longest window tried.
        max_delay_s: The longest delay tried.
    """
    if len(changed_s) < _MIN_CHANGES or len(edges_s) == 0:
        return None
    thin = slice(None, None, 1 + len(changed_s) // _MAX_FITTED)
    samples = changed_s[thin], power_w[thin], OnTime(edges_s)
    coarse = _best(*samples, np.linspace(0, max_window_s, 31), np.linspace(0, max_delay_s, 31))
    return _best(*samples, _around(coarse.window_s, max_window_s / 30), _around(coarse.delay_s, max_delay_s / 30))


def fit_counter_delay(changed_s: Floats, energy_j: Floats, edges_s: Floats, *, max_delay_s: float) -> SensorFit | None:
    """Fit how far the energy counter lags the load, by its mean power between two updates; its window is 0."""
    if len(changed_s) < _MIN_CHANGES or len(edges_s) == 0:
        return None
    load, power_w = OnTime(edges_s), np.diff(energy_j) / np.diff(changed_s)
    found = []
    for delay_s in np.linspace(0, max_delay_s, 201):
        late_s = changed_s - delay_s
        found.append(_fitted(load.share(late_s[:-1], late_s[1:]), power_w, 0.0, float(delay_s)))
    return max(found, key=lambda each: each.r2)


def _best(t_s: Floats, power_w: Floats, load: OnTime, windows_s: Floats, delays_s: Floats) -> SensorFit:
    found = []
    for window_s in windows_s:
        for delay_s in delays_s:
            end_s = t_s - delay_s
            share = load.share(end_s - max(window_s, _SHORTEST_WINDOW_S), end_s)
            found.append(_fitted(share, power_w, float(window_s), float(delay_s)))
    return max(found, key=lambda each: each.r2)


def _fitted(share: Floats, power_w: Floats, window_s: float, delay_s: float) -> SensorFit:
    """Fit the two power levels by least squares."""
    terms = np.column_stack((np.ones_like(share), share))
    (low_w, rise_w), *_ = np.linalg.lstsq(terms, power_w, rcond=None)
    variance = float(power_w.var())
    r2 = 1 - float((power_w - terms @ (low_w, rise_w)).var()) / variance if variance > 0 else 0.0
    return SensorFit(window_s, delay_s, float(low_w), float(low_w + rise_w), r2)


def _around(middle: float, reach: float) -> Floats:
    return np.unique(np.maximum(0.0, np.linspace(middle - reach, middle + reach, 21)))


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
