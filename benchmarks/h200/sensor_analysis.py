"""What readings of a power sensor say of the sensor: pure functions of arrays.

Times are in seconds, powers and counters in any unit. Edges are (n, 2): when the load was on and off. A number that the
readings do not tell is None.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Series = tuple[Array, Array]
"""Times and values."""

_MIN_CHANGES = 6
_MOST_FITTED = 5000


@dataclass(frozen=True, slots=True)
class Renewal:
    """The times between two changes of a reading: their median and spread, and how fast it was polled."""

    changes: int
    median_s: float
    p10_s: float
    p90_s: float
    polled_s: float


def changes_of(times_s: Array, values: Array) -> Series:
    """Times at which a new value was first seen, and the values."""
    changed = np.flatnonzero(np.diff(values) != 0) + 1
    return times_s[changed], values[changed]


def changes_in(spans: Sequence[Series]) -> Series:
    """Those within each of some spans that were polled: between them nobody looked."""
    found = [changes_of(*span) for span in spans]
    if not found:
        return np.empty(0), np.empty(0)
    times_s, values = zip(*found, strict=True)
    return np.concatenate(times_s), np.concatenate(values)


def renewal(times_s: Array, values: Array) -> Renewal | None:
    """How often a reading changes."""
    changed_s, _ = changes_of(times_s, values)
    if len(changed_s) < _MIN_CHANGES:
        return None
    between_s = np.diff(changed_s)
    p10_s, median_s, p90_s = (float(each) for each in np.percentile(between_s, (10, 50, 90)))
    return Renewal(len(changed_s), median_s, p10_s, p90_s, float(np.median(np.diff(times_s))))


def resolution(values: Array) -> int | None:
    """The greatest step of which all changes of a whole-numbered reading are multiples."""
    steps = np.unique(np.abs(np.diff(values.astype(np.int64))))
    steps = steps[steps > 0]
    return None if len(steps) == 0 else int(reduce(gcd, (int(step) for step in steps)))


def integral_mean(times_s: Array, power: Array, start_s: float, end_s: float) -> float | None:
    """Mean power by the trapezoid rule, its ends interpolated."""
    if len(times_s) < 2 or times_s[0] > start_s or times_s[-1] < end_s:
        return None
    inside = (times_s > start_s) & (times_s < end_s)
    at_s = np.concatenate(([start_s], times_s[inside], [end_s]))
    at = np.interp(at_s, times_s, power)
    return float(np.trapezoid(at, at_s) / (end_s - start_s))


def counter_mean(times_s: Array, counter: Array, start_s: float, end_s: float) -> float | None:
    """Mean power by a counter that moves in steps, interpolated between the steps."""
    changed_s, moved = changes_of(times_s, counter)
    if len(changed_s) < 2 or changed_s[0] > start_s or changed_s[-1] < end_s:
        return None
    before, after = np.interp((start_s, end_s), changed_s, moved)
    return float((after - before) / (end_s - start_s))


def between_changes(times_s: Array, counter: Array, start_s: float, end_s: float) -> tuple[float, float] | None:
    """The longest span within another that begins and ends as a counter moves: nothing need be interpolated there."""
    changed_s, _ = changes_of(times_s, counter)
    inside = changed_s[(changed_s >= start_s) & (changed_s <= end_s)]
    return (float(inside[0]), float(inside[-1])) if len(inside) > 1 else None


def on_share(edges_s: Array, start_s: float, end_s: float) -> float:
    """The part of a span in which the load was on."""
    before_s, after_s = _OnTime(edges_s)(np.array((start_s, end_s)))
    return float((after_s - before_s) / (end_s - start_s))


@dataclass(frozen=True, slots=True)
class Crossings:
    """When, after an edge, a reading had made 10, 50 and 90 % of its step from one value to another."""

    t10_s: float
    t50_s: float
    t90_s: float
    from_value: float
    to_value: float


def step_response(times_s: Array, values: Array, edge_s: float, before_s: float, after_s: float) -> Crossings | None:
    """The step at an edge.

    Args:
        times_s: ascending.
        values: the readings.
        edge_s: when the load went on or off.
        before_s: the level before is the median from here to the edge.
        after_s: the level after is the median of the last third from the edge to here.
    """
    settled_s = after_s - (after_s - edge_s) / 3
    levels = [_median(times_s, values, *span) for span in ((before_s, edge_s), (settled_s, after_s))]
    if levels[0] is None or levels[1] is None or levels[0] == levels[1]:
        return None
    inside = (times_s >= edge_s) & (times_s <= after_s)
    share = (values[inside] - levels[0]) / (levels[1] - levels[0])
    if share.max() < 0.9:
        return None
    t10_s, t50_s, t90_s = (float(times_s[inside][np.argmax(share >= part)] - edge_s) for part in (0.1, 0.5, 0.9))
    return Crossings(t10_s, t50_s, t90_s, levels[0], levels[1])


def swing(values: Array) -> float | None:
    """From the 2nd to the 98th percentile of the readings."""
    if len(values) < 2:
        return None
    low, high = np.percentile(values, (2, 98))
    return float(high - low)


@dataclass(frozen=True, slots=True)
class Window:
    """A sensor that shows the mean of the load over ``window_s``, ``delay_s`` ago; ``r2`` is how well that fits."""

    window_s: float
    delay_s: float
    low: float
    high: float
    r2: float


def averaging_window(
    changed_s: Array, changed: Array, edges_s: Array, *, longest_s: float, longest_delay_s: float
) -> Window | None:
    """The window and delay that explain a reading best while a load of two levels goes on and off.

    Args:
        changed_s: when the reading changed: one that is held tells of the past.
        changed: the new readings.
        edges_s: of the load.
        longest_s: the longest window that is tried.
        longest_delay_s: the longest delay that is tried.
    """
    if len(changed_s) < _MIN_CHANGES or len(edges_s) < 1:
        return None
    on_s = _OnTime(edges_s)
    thin = slice(None, None, 1 + len(changed_s) // _MOST_FITTED)
    changed_s, changed = changed_s[thin], changed[thin]
    coarse = _best(changed_s, changed, on_s, _grid(0, longest_s, 30), _grid(0, longest_delay_s, 30))
    near = (_around(coarse.window_s, longest_s / 30), _around(coarse.delay_s, longest_delay_s / 30))
    return _best(changed_s, changed, on_s, *near)


def counter_delay(changed_s: Array, moved: Array, edges_s: Array, *, longest_s: float) -> Window | None:
    """How far a counter is behind the load; ``low`` and ``high`` are the powers by it. A window of 0: it has none.

    By its slope between two changes: a power that drifts over seconds shifts no edge. ``changed_s`` and ``moved`` are
    those of `averaging_window`.
    """
    if len(changed_s) < _MIN_CHANGES or len(edges_s) < 1:
        return None
    on_s = _OnTime(edges_s)
    took_s = np.diff(changed_s)
    slopes = np.diff(moved) / took_s
    found = []
    for delay_s in _grid(0, longest_s, 200):
        share = np.diff(on_s(changed_s - delay_s)) / took_s
        (low, rise), r2 = _fitted(np.column_stack((np.ones_like(share), share)), slopes)
        found.append(Window(0.0, float(delay_s), low, low + rise, r2))
    return max(found, key=lambda each: each.r2)


class _OnTime:
    """For how long the load has been on until an instant: linear between the edges."""

    def __init__(self, edges_s: Array) -> None:
        edges_s = np.asarray(edges_s, float)
        self._edges_s = edges_s.ravel()
        on_s = np.cumsum(edges_s[:, 1] - edges_s[:, 0])
        self._on_s = np.column_stack((np.concatenate(([0.0], on_s[:-1])), on_s)).ravel()

    def __call__(self, at_s: Array) -> Array:
        found: Array = np.interp(at_s, self._edges_s, self._on_s)
        return found


def _best(times_s: Array, values: Array, on_s: _OnTime, windows_s: Array, delays_s: Array) -> Window:
    found = []
    for window_s in windows_s:
        width_s = max(float(window_s), 1e-4)
        for delay_s in delays_s:
            end_s = times_s - delay_s
            share = (on_s(end_s) - on_s(end_s - width_s)) / width_s
            (low, rise), r2 = _fitted(np.column_stack((np.ones_like(share), share)), values)
            found.append(Window(float(window_s), float(delay_s), low, low + rise, r2))
    return max(found, key=lambda each: each.r2)


def _fitted(terms: Array, values: Array) -> tuple[list[float], float]:
    """Least squares: the coefficients, and the share of the variance that they explain."""
    coefficients, *_ = np.linalg.lstsq(terms, values, rcond=None)
    left = values - terms @ coefficients
    variance = float(values.var())
    return [float(each) for each in coefficients], 1 - float(left.var()) / variance if variance > 0 else 0.0


def _median(times_s: Array, values: Array, start_s: float, end_s: float) -> float | None:
    inside = (times_s >= start_s) & (times_s <= end_s)
    return float(np.median(values[inside])) if inside.any() else None


def _grid(low: float, high: float, n: int) -> Array:
    return np.linspace(low, high, n + 1)


def _around(middle: float, reach: float) -> Array:
    return np.unique(np.maximum(0.0, _grid(middle - reach, middle + reach, 20)))
