"""The MAP fit: parameters the data determine are recovered, others stay at the prior, limits hold."""

import numpy as np
import pytest

from orchestrator.measure.map_fit import Prior, fit_named, soft_l1

X = np.linspace(1, 2, 50)
PAIR = (Prior(name="slope", log_deviation=0.5), Prior(name="unused", log_deviation=0.5))
CENTERS = {"slope": 1.0, "unused": 3.0}


def line(slope, y, noise=0.01):
    return soft_l1((slope * X - y) / noise)


def test_a_determined_parameter_is_recovered_and_another_stays_at_its_prior():
    fit = fit_named(PAIR, CENTERS, lambda values: line(values["slope"], 1.4 * X))
    assert fit.values["slope"] == pytest.approx(1.4, rel=1e-3)
    assert fit.values["unused"] == pytest.approx(3.0, rel=1e-6)
    assert fit.log_deviation["slope"] < 0.01
    assert fit.log_deviation["unused"] == pytest.approx(0.5, rel=1e-3)


def test_two_parameters_that_act_together_share_the_change_and_have_large_deviations():
    both_one = {"slope": 1.0, "unused": 1.0}
    fit = fit_named(PAIR, both_one, lambda values: line(values["slope"] * values["unused"], 1.44 * X))
    assert fit.values["slope"] == pytest.approx(1.2, rel=1e-2)
    assert fit.values["unused"] == pytest.approx(1.2, rel=1e-2)
    assert min(fit.log_deviation.values()) > 0.3


@pytest.mark.parametrize(("true", "expected"), [(1.4, 1.2), (0.5, 0.8)])
def test_a_limit_holds(true, expected):
    limited = (Prior(name="slope", log_deviation=0.5, lower=0.8, upper=1.2),)
    fit = fit_named(limited, {"slope": 1.0}, lambda values: line(values["slope"], true * X))
    assert fit.values["slope"] == pytest.approx(expected, rel=1e-6)
    assert 0.8 <= fit.values["slope"] <= 1.2


def test_a_prior_at_its_limit_can_move_away_from_it():
    at_limit = (Prior(name="slope", log_deviation=0.5, upper=1.0),)
    fit = fit_named(at_limit, {"slope": 1.0}, lambda values: line(values["slope"], 0.7 * X))
    assert fit.values["slope"] == pytest.approx(0.7, rel=1e-3)


def test_outliers_do_not_decide():
    y = 1.4 * X
    y[::10] *= 5
    fit = fit_named(PAIR, CENTERS, lambda values: line(values["slope"], y))
    assert fit.values["slope"] == pytest.approx(1.4, rel=0.01)


def test_the_start_does_not_matter():
    slopes = [
        fit_named(PAIR, CENTERS, lambda values: line(values["slope"], 1.4 * X), start).values["slope"]
        for start in (None, {"slope": 2.0, "unused": 1.0})
    ]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-4)
