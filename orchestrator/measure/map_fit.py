"""Maximum a posteriori (MAP) fit of positive parameters with log-normal priors.

A parameter that the data do not determine stays at its prior value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.measure.columns import Floats

_MAX_LOG_CHANGE = 3.0
"""Limit of the change of a named parameter: a factor of 20."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Log-normal prior of one parameter; ``log_deviation`` is the standard deviation of its natural logarithm.

    The fitted value is at least ``lower`` and at most ``upper``.
    """

    name: str
    log_deviation: float
    lower: float = 0.0
    upper: float = np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFit:
    """``logs`` are the natural logarithms of the fitted values over the prior ones; shape (parameters,).

    ``jacobian`` is that of all residuals, priors included, shape (residuals, parameters); ``cost`` is half the sum of
    their squares.
    """

    logs: Floats
    jacobian: Floats
    cost: float

    @property
    def log_deviations(self) -> Floats:
        """Posterior standard deviations of the logarithms, by Laplace's approximation; shape (parameters,)."""
        covariance = np.linalg.inv(self.jacobian.T @ self.jacobian)
        return np.sqrt(np.diag(covariance))


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFit:
    """Fitted values and the posterior standard deviations of their logarithms, by name; cost as in `LogFit`."""

    values: dict[str, float]
    log_deviation: dict[str, float]
    cost: float


def fit_logs(
    residuals: Callable[[Floats], Floats],
    log_deviations: Floats,
    bounds: tuple[Floats | float, Floats | float],
    start: Floats | None = None,
) -> LogFit:
    """Minimise the sum of squares of the residuals of the data and of the priors.

    Args:
        residuals: of the data, in units of their expected error; called with the logarithms, shape (parameters,).
        log_deviations: prior standard deviations of the logarithms; shape (parameters,).
        bounds: lower and upper limits of the logarithms.
        start: logarithms to start from; zeros if None.
    """
    from scipy.optimize import least_squares  # imported here because scipy loads slowly and few cells need it

    def all_residuals(logs: Floats) -> Floats:
        return np.concatenate([residuals(logs), logs / log_deviations])

    begin = np.zeros(len(log_deviations)) if start is None else start
    result = least_squares(all_residuals, begin, bounds=bounds)
    return LogFit(logs=result.x, jacobian=result.jac, cost=float(result.cost))


def fit_named(
    priors: Sequence[Prior],
    centers: Mapping[str, float],
    residuals: Callable[[Mapping[str, float]], Floats],
    start: Mapping[str, float] | None = None,
) -> MapFit:
    """Fit named parameters.

    Args:
        priors: of the parameters to fit.
        centers: prior medians by name; positive.
        residuals: of the data, in units of their expected error, shape (n,); called with values by name.
        start: values to start from; the prior medians if None.
    """
    names = [prior.name for prior in priors]
    center = np.array([centers[name] for name in names])
    lower = np.clip(_log_ratios([prior.lower for prior in priors], center), -_MAX_LOG_CHANGE, 0.0)
    upper = np.clip(_log_ratios([prior.upper for prior in priors], center), 0.0, _MAX_LOG_CHANGE)

    def named(logs: Floats) -> dict[str, float]:
        return dict(zip(names, (center * np.exp(logs)).tolist(), strict=True))

    begin = None if start is None else np.clip(_log_ratios([start[name] for name in names], center), lower, upper)
    margin = 1e-9  # scipy requires the start to lie strictly between the bounds
    fit = fit_logs(
        lambda logs: residuals(named(logs)),
        np.array([prior.log_deviation for prior in priors]),
        (lower - margin, upper + margin),
        begin,
    )
    return MapFit(
        values=named(np.clip(fit.logs, lower, upper)),
        log_deviation=dict(zip(names, fit.log_deviations.tolist(), strict=True)),
        cost=fit.cost,
    )


def soft_l1(residuals: Floats) -> Floats:
    """Return residuals whose squares are the soft L1 loss: linear where they are large, so that outliers weigh less."""
    softened: Floats = np.sign(residuals) * np.sqrt(2 * (np.sqrt(1 + residuals**2) - 1))
    return softened


def _log_ratios(values: Sequence[float], center: Floats) -> Floats:
    ratios: Floats = np.log(np.maximum(values, 1e-30) / center)
    return ratios
