"""How much pairs of values differ, and how sure that is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from orchestrator.measure.statistics import mean_of

_EQUAL = 1e-9
"""Relative difference below which two values are one: what summing in another order may leave."""

Scale = Literal["ratio", "difference"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From the first values to the second, with the 95 % interval of the mean and the p-value of no change.

    On the ``ratio`` scale ``change`` is relative (0.1: a tenth more), on ``difference`` it is in the metric's unit.
    ``low``, ``high`` and ``p`` are None where there is one unit and it changed: nothing tells how far it scatters.
    ``least`` and ``most`` are the extremes over the ``n`` units; ``before`` and ``after`` are means, geometric on
    the ``ratio`` scale.
    """

    scale: Scale
    n: int
    before: float
    after: float
    change: float
    low: float | None
    high: float | None
    least: float
    most: float
    p: float | None

    @property
    def constant(self) -> bool:
        """Whether several units all changed by the same amount, so that there is no scatter to test against."""
        return self.n > 1 and self.low is not None and self.low == self.high and self.change != 0


def paired_change(before: Sequence[float], after: Sequence[float], unit: Sequence[int]) -> Change:
    """The change over pairs; ``unit[i]`` says to which unit the i-th pair belongs, whose pairs are averaged first.

    Student's t over the units: on log ratios where every value is positive, else on differences. Pairs that are
    equal to nine digits are equal. Where all units changed by one and the same amount other than zero, the interval
    is that amount and p is 0.
    """
    first, second = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    positive = bool((first > 0).all() and (second > 0).all())
    if positive:
        first, second = np.log(first), np.log(second)
    tolerance = _EQUAL if positive else _EQUAL * float(np.abs([first, second]).max(initial=0.0))
    apart = second - first
    apart[np.abs(apart) <= tolerance] = 0.0
    deltas = _means(apart, unit)
    mean = mean_of(deltas, tolerance)
    back = math.expm1 if positive else float
    average = math.exp if positive else float
    return Change(
        scale="ratio" if positive else "difference",
        n=len(deltas),
        before=average(_means(first, unit).mean()),
        after=average(_means(second, unit).mean()),
        change=back(mean.value),
        low=None if mean.low is None else back(mean.low),
        high=None if mean.high is None else back(mean.high),
        least=back(deltas.min()),
        most=back(deltas.max()),
        p=mean.p,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted so that a family of tests errs as seldom as one (Holm 1979), in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _means(values: Floats, unit: Sequence[int]) -> Floats:
    _, index = np.unique(np.asarray(unit), return_inverse=True)
    means: Floats = np.bincount(index, weights=values) / np.bincount(index)
    return means
