"""Coefficients that explain what was measured, near what was assumed of them before: the maximum of a posterior."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.measure.columns import Floats

_FARTHEST = 3.0
"""Of the logarithm: no coefficient is found further from the assumed one than by a factor of 20."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """A coefficient to be found: log-normal around what is assumed, at least ``least`` and at most ``most``."""

    name: str
    log_deviation: float
    least: float = 0.0
    most: float = np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """``values`` by name; ``log_deviation`` is what the data and the assumption leave open of the logarithm of each.

    ``cost`` is half the sum of squares at the maximum, of the data and of the assumptions.
    """

    values: dict[str, float]
    log_deviation: dict[str, float]
    cost: float


def most_probable(
    coefficients: Sequence[Coefficient],
    assumed: Mapping[str, float],
    residuals: Callable[[Mapping[str, float]], Floats],
    start: Mapping[str, float] | None = None,
) -> Found:
    """The coefficients with the least sum of squares of residuals, theirs to the assumed ones included.

    Args:
        coefficients: to be found.
        assumed: what is believed before; positive.
        residuals: of the data in units of their expected error, shape (n,); called with values by name.
        start: where to begin; as assumed where it is None.
    """
    from scipy.optimize import least_squares  # takes longer to import than most need it

    names = [one.name for one in coefficients]
    center = np.array([assumed[name] for name in names])
    deviation = np.array([one.log_deviation for one in coefficients])
    lower, upper = (np.log(np.maximum(edge, 1e-30) / center) for edge in _edges(coefficients))
    lower, upper = np.minimum(np.maximum(lower, -_FARTHEST), 0.0), np.maximum(np.minimum(upper, _FARTHEST), 0.0)

    def all_residuals(logs: Floats) -> Floats:
        values = dict(zip(names, (center * np.exp(logs)).tolist(), strict=True))
        return np.concatenate([residuals(values), logs / deviation])

    begin = np.zeros(len(names)) if start is None else np.log(np.array([start[name] for name in names]) / center)
    result = least_squares(
        all_residuals, np.clip(begin, lower, upper), bounds=(lower - 1e-9, upper + 1e-9), xtol=1e-6, ftol=1e-8
    )
    values = center * np.exp(np.clip(result.x, lower, upper))
    covariance = np.linalg.inv(result.jac.T @ result.jac)
    return Found(
        values=dict(zip(names, values.tolist(), strict=True)),
        log_deviation=dict(zip(names, np.sqrt(np.diag(covariance)).tolist(), strict=True)),
        cost=float(result.cost),
    )


def softened(residuals: Floats) -> Floats:
    """Residuals whose squares are the soft L1 loss: linear where they are large, so that outliers decide nothing."""
    soft: Floats = np.sign(residuals) * np.sqrt(2 * (np.sqrt(1 + residuals**2) - 1))
    return soft


def _edges(coefficients: Sequence[Coefficient]) -> tuple[Floats, Floats]:
    return np.array([one.least for one in coefficients]), np.array([one.most for one in coefficients])
