"""The 95 % interval of a ratio of sums from successive blocks of one run: batch means, for what follows in time.

Nonoverlapping batch means (A. Law, Simulation Modeling and Analysis, 9.5; B. Schmeiser, Operations Research 30, 1982)
with the ratio linearised, and widened for blocks that resemble their predecessors as N-Skart does (A. Tafazzoli and
J. Wilson, IEEE Transactions on Automatic Control 56, 2011).
"""

import math

from orchestrator.analysis.interval import CONFIDENCE
from orchestrator.measure.columns import Floats

MIN_BLOCKS = 5
"""With fewer, neither scatter nor autocorrelation can be told."""

MAX_BLOCKS = 10
"""More blocks are shorter ones, which resemble their neighbours, and narrow the interval little (Schmeiser)."""

_MAX_AUTOCORRELATION = 0.8
"""Of blocks that are to be one run's and not one trend's (N-Skart)."""


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
