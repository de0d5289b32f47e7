"""The mean of a few values, how sure it is, and whether it is other than zero: Student's t."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its 95 % interval and the p-value of being zero; None where there is one value, and it is not zero.

    Where nothing scatters the interval is the mean itself; p is then 0, or 1 if all values are zero.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None

    @property
    def half_width(self) -> float | None:
        """Of the interval; None where there is none."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def mean_of(values: npt.ArrayLike, tolerance: float = 0.0) -> Mean:
    """The mean of at least one value; a standard error up to ``tolerance`` is none."""
    known = np.asarray(values, dtype=np.float64)
    mean = float(known.mean())
    if not known.any():
        return Mean(0.0, 0.0, 0.0, 1.0)
    if len(known) == 1:
        return Mean(mean, None, None, None)
    error = float(known.std(ddof=1)) / math.sqrt(len(known))
    if error <= tolerance:
        return Mean(mean, mean, mean, 0.0)
    from scipy.special import stdtr, stdtrit

    freedom = len(known) - 1
    half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * error
    return Mean(mean, mean - half, mean + half, 2 * float(stdtr(freedom, -abs(mean) / error)))
