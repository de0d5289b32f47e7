"""Properties of a power sensor from its readings: pure functions of arrays.

The model of a sensor is that of arXiv 2312.02741: every update shows the mean power of a window that ended some time
ago. Window and delay are those that explain the readings best while a load switches between two levels. Times are in
s; ``edges_s`` has shape (n, 2): when the load was switched on and off.
"""

from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import product
from math import gcd, isfinite
from typing import NamedTuple

import numpy as np

from orchestrator.measure.columns import Floats
from orchestrator.measure.counter import Counter
from orchestrator.measure.gpu_energy import PowerIntegral
from orchestrator.measure.sensor_series import SensorSeries

_MIN_CHANGES = 6
_MAX_FITTED = 5000
_SHORTEST_WINDOW_S = 1e-4
_MILLI = 1000


class SensorFit(NamedTuple):
    """The window and delay that explain readings best; ``r2``: share of the variance explained."""

    window_s: float
    delay_s: float
    r2: float


def fit_window(
    changed_s: Floats, power_w: Floats, edges_s: Floats, *, max_window_s: float, max_delay_s: float
) -> SensorFit | None:
    """Fit window and delay of a power reading, on a coarse and then a fine grid.

    Args:
        changed_s: When the reading changed; unchanged values carry no information.
        power_w: The new values.
        edges_s: Of the load.
        max_window_s: The longest window tried.
        max_delay_s: The longest delay tried.

    Returns:
        None if there are too few changes, or no load.
    """
    if len(changed_s) < _MIN_CHANGES or len(edges_s) == 0:
        return None
    thin = slice(None, None, 1 + len(changed_s) // _MAX_FITTED)
    t_s, power_w = changed_s[thin], power_w[thin]

    def fits(windows_s: Floats, delays_s: Floats) -> Iterator[SensorFit]:
        for window_s, delay_s in product(windows_s.tolist(), delays_s.tolist()):
            end_s = t_s - delay_s
            share = load_share(edges_s, end_s - max(window_s, _SHORTEST_WINDOW_S), end_s)
            yield SensorFit(window_s, delay_s, _r2(share, power_w))

    coarse = _best(fits(np.linspace(0, max_window_s, 31), np.linspace(0, max_delay_s, 31)))
    return _best(fits(_around(coarse.window_s, max_window_s / 30), _around(coarse.delay_s, max_delay_s / 30)))


def fit_counter_delay(changed_s: Floats, energy_j: Floats, edges_s: Floats, *, max_delay_s: float) -> SensorFit | None:
    """Fit the delay of the energy counter, by its mean power between two updates; its window is 0."""
    if len(changed_s) < _MIN_CHANGES or len(edges_s) == 0:
        return None
    power_w = np.diff(energy_j) / np.diff(changed_s)

    def fits(delays_s: Floats) -> Iterator[SensorFit]:
        for delay_s in delays_s.tolist():
            late_s = changed_s - delay_s
            yield SensorFit(0.0, delay_s, _r2(load_share(edges_s, late_s[:-1], late_s[1:]), power_w))

    return _best(fits(np.linspace(0, max_delay_s, 201)))


def _best(fits: Iterable[SensorFit]) -> SensorFit:
    return max(fits, key=lambda fit: fit.r2)


def _around(middle: float, reach: float) -> Floats:
    return np.unique(np.maximum(0.0, np.linspace(middle - reach, middle + reach, 21)))


def _r2(share: Floats, power_w: Floats) -> float:
    """Fit the two power levels of a load that is on for ``share`` of each span, by least squares; return R²."""
    terms = np.column_stack((np.ones_like(share), share))
    levels, *_ = np.linalg.lstsq(terms, power_w, rcond=None)
    variance = float(power_w.var())
    return 1 - float((power_w - terms @ levels).var()) / variance if variance > 0 else 0.0


def load_share(edges_s: Floats, start_s: Floats, end_s: Floats) -> Floats:
    """Return the share of each span in which the load was on."""
    on_s = np.cumsum(edges_s[:, 1] - edges_s[:, 0])
    on_at_edges_s = np.column_stack((np.concatenate(([0.0], on_s[:-1])), on_s)).ravel()
    on_until_start_s, on_until_end_s = (np.interp(t_s, edges_s.ravel(), on_at_edges_s) for t_s in (start_s, end_s))
    return np.asarray((on_until_end_s - on_until_start_s) / (end_s - start_s))


def changes(spans: Iterable[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Return when new values were first seen, and the values; spans were not polled in between."""
    changed = [(t_s[index], values[index]) for t_s, values in spans for index in [SensorSeries(t_s, values).changed]]
    t_s, values = zip(*changed, strict=True) if changed else ((np.empty(0),), (np.empty(0),))
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
    power = SensorSeries(t_s, power_w)
    return _finite(PowerIntegral(power, power.lag_s).delta_j(span) / (span[1] - span[0]))


def counter_mean_w(t_s: Floats, energy_j: Floats, span: tuple[float, float]) -> float | None:
    """Return the mean power of a span by the energy counter, as for a cell; None if it does not cover the span."""
    counter = Counter.sampled(SensorSeries(t_s, energy_j))
    return None if counter is None else _finite(counter.delta_j(span) / (span[1] - span[0]))


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def between_updates(t_s: Floats, energy_j: Floats, span: tuple[float, float]) -> tuple[float, float]:
    """Shorten a span so that it begins and ends at updates of the counter, which need no interpolation."""
    moved_s, _ = changes([(t_s, energy_j)])
    inside_s = moved_s[(moved_s >= span[0]) & (moved_s <= span[1])]
    return (float(inside_s[0]), float(inside_s[-1])) if len(inside_s) > 1 else span
