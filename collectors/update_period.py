"""When a sensor's reading updates, and at which period, from samples taken faster than it updates.

Power that varies faster than the update period is aliased (arXiv 2312.02741 lists the periods of many GPUs).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_MIN_CHANGES = 5


@dataclass(frozen=True, slots=True)
class UpdatePeriod:
    """The time from one update of a reading to the next."""

    period_s: float
    error_s: float
    """The period of the samples, which limits the accuracy."""


def update_period(t_s: npt.ArrayLike, power_w: npt.ArrayLike) -> UpdatePeriod | None:
    """Return the update period of one device's reading.

    An update that repeats the value is not visible, so the time between two changes is a multiple of the period, most
    often the period itself: return the mean of the times near the short end.

    Args:
        t_s: Times of the samples, ascending.
        power_w: The readings; NaN if missing.

    Returns:
        None if fewer than six readings differ from the one before (steady power), or nearly every one does (the period
        is at most that of the samples).
    """
    times_s, readings_w = np.asarray(t_s, dtype=np.float64), np.asarray(power_w, dtype=np.float64)
    known = np.isfinite(readings_w)
    times_s, readings_w = times_s[known], readings_w[known]
    changed = changed_samples(readings_w)
    if len(changed) <= _MIN_CHANGES:
        return None
    polled_s = float(np.median(np.diff(times_s)))
    between_s = np.diff(times_s[changed])
    short_s = float(np.quantile(between_s, 0.2))
    period_s = float(np.mean(between_s[between_s < 1.5 * short_s]))
    if period_s < 2 * polled_s:
        return None
    return UpdatePeriod(period_s, polled_s)


def changed_samples(values: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return the indices of the samples that differ from the one before."""
    return np.flatnonzero(np.diff(values) != 0) + 1
