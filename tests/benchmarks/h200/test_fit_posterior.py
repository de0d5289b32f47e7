"""The maximum of a posterior: what data tell is found, what they do not tell stays assumed, limits hold."""

import numpy as np
import pytest

from benchmarks.h200.fit_jackknife import standard_error
from benchmarks.h200.fit_posterior import Coefficient, most_probable, softened

X = np.linspace(1, 2, 50)
PAIR = (Coefficient(name="told", log_deviation=0.5), Coefficient(name="untold", log_deviation=0.5))
ASSUMED = {"told": 1.0, "untold": 3.0}


def line(slope, y, noise=0.01):
    return softened((slope * X - y) / noise)


def test_what_the_data_tell_is_found_and_the_rest_stays_assumed():
    found = most_probable(PAIR, ASSUMED, lambda values: line(values["told"], 1.4 * X))
    assert found.values["told"] == pytest.approx(1.4, rel=1e-3)
    assert found.values["untold"] == pytest.approx(3.0, rel=1e-6)
    assert found.log_deviation["told"] < 0.01
    assert found.log_deviation["untold"] == pytest.approx(0.5, rel=1e-3)


def test_two_that_act_together_share_the_difference_and_are_both_known_badly():
    found = most_probable(
        PAIR, {"told": 1.0, "untold": 1.0}, lambda values: line(values["told"] * values["untold"], 1.44 * X)
    )
    assert found.values["told"] == pytest.approx(1.2, rel=1e-2)
    assert found.values["untold"] == pytest.approx(1.2, rel=1e-2)
    assert min(found.log_deviation.values()) > 0.3


@pytest.mark.parametrize(("true", "expected"), [(1.4, 1.2), (0.5, 0.8)])
def test_a_limit_is_not_crossed(true, expected):
    within = (Coefficient(name="told", log_deviation=0.5, least=0.8, most=1.2),)
    found = most_probable(within, {"told": 1.0}, lambda values: line(values["told"], true * X))
    assert found.values["told"] == pytest.approx(expected, rel=1e-6)
    assert 0.8 <= found.values["told"] <= 1.2


def test_one_that_is_assumed_at_its_limit_can_move_away_from_it():
    at_limit = (Coefficient(name="told", log_deviation=0.5, most=1.0),)
    found = most_probable(at_limit, {"told": 1.0}, lambda values: line(values["told"], 0.7 * X))
    assert found.values["told"] == pytest.approx(0.7, rel=1e-3)


def test_outliers_decide_nothing():
    y = 1.4 * X
    y[::10] *= 5
    found = most_probable(PAIR, ASSUMED, lambda values: line(values["told"], y))
    assert found.values["told"] == pytest.approx(1.4, rel=0.01)


def test_where_it_begins_does_not_matter():
    begun = [
        most_probable(PAIR, ASSUMED, lambda values: line(values["told"], 1.4 * X), start).values["told"]
        for start in (None, {"told": 2.0, "untold": 1.0})
    ]
    assert begun[0] == pytest.approx(begun[1], rel=1e-4)


def test_the_jackknife_of_means_is_the_error_of_the_mean():
    values = np.random.default_rng(0).normal(size=40)
    left_out = [np.delete(values, index).mean() for index in range(len(values))]
    assert standard_error(left_out) == pytest.approx(values.std(ddof=1) / np.sqrt(len(values)))
    assert standard_error([1.0]) == 0
