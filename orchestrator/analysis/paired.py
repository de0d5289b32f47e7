"""How much pairs of values differ, and how sure that is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
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
    mean = float(deltas.mean())
    low, high, p = _student(deltas, mean, tolerance)
    back = _relative if positive else float
    mean_of = _geometric if positive else float
    return Change(
        scale="ratio" if positive else "difference",
        n=len(deltas),
        before=mean_of(_means(first, unit).mean()),
        after=mean_of(_means(second, unit).mean()),
        change=back(mean),
        low=None if low is None else back(low),
        high=None if high is None else back(high),
        least=back(deltas.min()),
        most=back(deltas.max()),
        p=p,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted so that a family of tests errs as seldom as one (Holm 1979), in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _student(deltas: Floats, mean: float, tolerance: float) -> tuple[float | None, float | None, float | None]:
    """Interval and p-value of a mean, with the cases in which nothing scatters."""
    if not deltas.any():
        return 0.0, 0.0, 1.0
    if len(deltas) == 1:
        return None, None, None
    error = float(deltas.std(ddof=1)) / math.sqrt(len(deltas))
    if error <= tolerance:
        return mean, mean, 0.0
    from scipy.special import stdtr, stdtrit

    freedom = len(deltas) - 1
    half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * error
    return mean - half, mean + half, 2 * float(stdtr(freedom, -abs(mean) / error))


def _means(values: Floats, unit: Sequence[int]) -> Floats:
    _, index = np.unique(np.asarray(unit), return_inverse=True)
    means: Floats = np.bincount(index, weights=values) / np.bincount(index)
    return means


def _relative(log_ratio: float) -> float:
    return math.expm1(log_ratio)


def _geometric(log_mean: float) -> float:
    return math.exp(log_mean)
