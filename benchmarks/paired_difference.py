"""Two measurements of one thing, pair by pair: how much they differ, and how well that is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Mean of one less the other, and half the width of its 95 % t interval; both as shares of the other's mean."""

    difference: float
    half_width: float

    @property
    def is_seen(self) -> bool:
        """Whether the interval leaves out that there is none."""
        return abs(self.difference) > self.half_width

    def is_within(self, share: float = 0.05) -> bool:
        """Whether the whole interval is: no difference larger than ``share`` is left possible."""
        return abs(self.difference) + self.half_width <= share


def paired_difference(pairs: Sequence[tuple[float, float]]) -> PairedDifference:
    """From at least two pairs."""
    ours, theirs = np.asarray(pairs, dtype=float).T
    differences = ours - theirs
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    half_width = stats.t.ppf(0.975, len(differences) - 1) * error
    return PairedDifference(
        difference=float(differences.mean() / theirs.mean()), half_width=float(half_width / theirs.mean())
    )
