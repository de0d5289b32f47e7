"""How often a GPU's power reading is renewed, found by polling it faster than that for a moment.

A reading that changes in fewer samples than it is asked for hides what power does in between: a wave about as fast as
the sensor is folded into one that is not there (arXiv 2312.02741 has the periods of many GPUs). Only the power field is
polled: a counter that is read too often may fall behind (reported for one consumer GPU).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_MIN_CHANGES = 5


@dataclass(frozen=True, slots=True)
class UpdatePeriod:
    """The time from one renewal of a reading to the next, and how far off it may be for want of faster samples."""

    period_s: float
    error_s: float


def update_period(t_s: npt.ArrayLike, power_w: npt.ArrayLike) -> UpdatePeriod | None:
    """The period in samples of one device.

    Renewals that repeat the value are not seen, so the time between two changes is a multiple of the period, most
    often the period itself: it is the median of those near the short end.

    Args:
        t_s: times of the samples, ascending.
        power_w: the readings; NaN where there is none.

    Returns:
        None where fewer than six readings differ from the one before, as those of a steady power may, and where
        they do so at nearly every sample: then the period is at most that of the samples.
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
