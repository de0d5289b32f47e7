"""Means and their 95 % intervals by Student's t: of repeats, of groups of cells, of blocks of one window."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.measure.columns import Floats

CONFIDENCE = 0.95

MIN_BLOCKS = 5
"""Fewer blocks determine neither scatter nor autocorrelation."""

MAX_BLOCKS = 10
"""More blocks are shorter ones, which resemble their neighbours, and narrow the interval little (Schmeiser)."""

_MAX_AUTOCORRELATION = 0.8
"""Largest autocorrelation of blocks that are of one steady run, not of one trend (N-Skart)."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean, the half-width of its 95 % interval, and the p-value of being zero.

    Half-width and p-value are None if there is one value, and it is not zero. If nothing scatters the half-width is 0;
    the p-value is then 0, or 1 if all values are zero.
    """

    value: float
    half_width: float | None
    p: float | None

    @property
    def low(self) -> float | None:
        """Lower end of the interval; None without an interval."""
        return None if self.half_width is None else self.value - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end of the interval; None without an interval."""
        return None if self.half_width is None else self.value + self.half_width


def mean_of(values: npt.ArrayLike, tolerance: float = 0.0) -> Mean:
    """Return the mean of at least one value; a standard error up to ``tolerance`` counts as zero."""
    known = np.asarray(values, dtype=np.float64)
    mean = float(known.mean())
    if not known.any():
        return Mean(0.0, 0.0, 1.0)
    if len(known) == 1:
        return Mean(mean, None, None)
    error = float(known.std(ddof=1)) / math.sqrt(len(known))
    if error <= tolerance:
        return Mean(mean, 0.0, 0.0)
    from scipy.special import stdtr  # imported here because scipy loads slowly

    freedom = len(known) - 1
    return Mean(mean, float(_quantile(freedom)) * error, 2 * float(stdtr(freedom, -abs(mean) / error)))


def group_means(values: Floats, group: npt.NDArray[np.integer[Any]], n_groups: int) -> tuple[Floats, Floats]:
    """Return the means of columns by group, and the half-widths of their 95 % intervals.

    Args:
        values: NaN where there is no value; shape (rows, columns).
        group: number of each row's group, from 0; shape (rows,).
        n_groups: number of groups.

    Returns:
        Two arrays of shape (groups, columns): NaN without a value, and the half-width is NaN for a single value.
    """
    known = ~np.isnan(values)

    def total(rows: npt.NDArray[Any]) -> Floats:
        sums = np.zeros((n_groups, values.shape[1]))
        np.add.at(sums, group, rows)
        return sums

    n = total(known)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total(np.where(known, values, 0.0)) / n
        squares = total(np.where(known, values - mean[group], 0.0) ** 2)
        error = np.sqrt(squares / (n - 1)) / np.sqrt(n)
    return mean, _quantile(np.where(n > 1, n - 1, np.nan)) * error


def half_width(numerators: Floats, denominators: Floats) -> float:
    """Return the half-width of the 95 % interval of the ratio of two sums; NaN if the denominators sum to 0.

    A block's numerator less its share of the whole, over the mean denominator, scatters about zero. Its variance over
    the number of blocks is that of the ratio; with autocorrelation r of neighbours, (1 + r) / (1 - r) times that.

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
    return float(_quantile(n - 1)) * math.sqrt(squares / (n - 1) / n * (1 + r) / (1 - r))


def autocorrelation(values: Floats, squares: float) -> float:
    """Return the autocorrelation of neighbours, from 0 to 0.8.

    The estimate from n values is too small by (1 + 3 r) / n on average (M. Kendall, Biometrika 41, 1954); this is
    added. A negative estimate becomes 0, so that blocks that alternate do not count as more blocks.

    Args:
        values: with mean zero; shape (n,).
        squares: sum of the squares of the values.
    """
    estimate = float(values[1:] @ values[:-1]) / squares
    return min(max(0.0, estimate + (1 + 3 * estimate) / len(values)), _MAX_AUTOCORRELATION)


def _quantile(freedom: float | Floats) -> Floats:
    """Return the half-width of the interval in standard errors, by degrees of freedom."""
    from scipy.special import stdtrit  # imported here because scipy loads slowly

    quantile: Floats = stdtrit(freedom, 0.5 + CONFIDENCE / 2)
    return quantile
