"""Rates are recovered from intervals that determine them, and stay at the prior otherwise."""

import numpy as np
import pytest

from orchestrator.attribution.energy_model import fitted_rates

ASSUMED = np.array([50.0, 1e-10, 1e-12, 0.02])


def _work(n, seed=0):
    draw = np.random.default_rng(seed)
    return draw.uniform(0.2, 1.0, (n, 4)) * np.array([0.1, 2e11, 5e13, 200.0])


def test_rates_that_differ_from_the_prior_by_half_are_recovered():
    true = ASSUMED * np.array([1.5, 0.7, 1.3, 0.6])
    work = _work(2000)
    noise = 1 + 0.03 * np.random.default_rng(1).standard_normal(2000)
    fit = fitted_rates(work, work @ true * noise, ASSUMED)
    assert fit.rates[1:3] == pytest.approx(true[1:3], rel=0.03)
    assert fit.rates == pytest.approx(true, rel=0.15)
    assert 0.01 < fit.misfit_ratio < 0.05


def test_one_interval_changes_only_the_rates_it_determines():
    work = _work(1)
    fit = fitted_rates(work, 1.2 * (work @ ASSUMED), ASSUMED)
    assert work @ fit.rates == pytest.approx(1.2 * (work @ ASSUMED), rel=0.05)
    assert ((fit.rates / ASSUMED > 0.99) & (fit.rates / ASSUMED < 1.5)).all()


def test_without_intervals_rates_stay_at_the_prior():
    fit = fitted_rates(np.zeros((0, 4)), np.zeros(0), ASSUMED)
    assert fit.rates == pytest.approx(ASSUMED)
    assert fit.misfit_ratio == 0.0


def test_outliers_do_not_decide():
    true = ASSUMED * 1.2
    work = _work(500)
    energy_j = work @ true
    energy_j[::25] *= 4
    assert fitted_rates(work, energy_j, ASSUMED).rates[1:3] == pytest.approx(true[1:3], rel=0.1)
