"""The mean of a few values, how sure it is, and whether it is other than zero: Student's t."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.measure.columns import Floats

CONFIDENCE = 0.95

MIN_BLOCKS = 5
"""With fewer, neither scatter nor autocorrelation can be told."""

MAX_BLOCKS = 10
"""More blocks are shorter ones, which resemble their neighbours, and narrow the interval little (Schmeiser)."""

_MAX_AUTOCORRELATION = 0.8
"""Of blocks that are to be one run's and not one trend's (N-Skart)."""


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


def half_width(numerators: Floats, denominators: Floats) -> float:
    """Of the 95 % interval of ``numerators.sum() / denominators.sum()``; NaN where there is nothing to divide by.

    What a block has beyond its share, over the mean denominator, scatters about zero, and its variance over the number
    of blocks is that of the ratio; with autocorrelation r of neighbours, (1 + r) / (1 - r) times that.

    Args:
        numerators: one a block, in order of time; at least three. Shape (blocks,).
        denominators: likewise.
    """
    n = len(numerators)
    whole = float(denominators.sum())
    if whole <= 0:
        return math.nan
    beyond = (numerators - numerators.sum() / whole * denominators) * (n / whole)
    squares = float(beyond @ beyond)
    if squares == 0:
        return 0.0
    r = autocorrelation(beyond, squares)
    from scipy.special import stdtrit

    quantile = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2))
    return quantile * math.sqrt(squares / (n - 1) / n * (1 + r) / (1 - r))


def autocorrelation(values: Floats, squares: float) -> float:
    """Of neighbours, from 0 to 0.8; ``values`` have mean zero and ``squares`` as the sum of their squares.

    What n values show is too small by (1 + 3 r) / n on average (M. Kendall, Biometrika 41, 1954), which is given back.
    Less than zero is taken for zero: blocks that alternate are not counted as more of them.
    """
    shown = float(values[1:] @ values[:-1]) / squares
    return min(max(0.0, shown + (1 + 3 * shown) / len(values)), _MAX_AUTOCORRELATION)
