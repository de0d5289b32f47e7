"""Renewals of a sensor, told from samples of it."""

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.attribution.readings import readings_of, renewals_of
from orchestrator.records.series import POWER

PERIOD_S = 0.1


def _polled(phase_s: float, jitter_s: float = 0.002, n: int = 400, seed: int = 0):
    """Times of polls twice a period, and the number of the last renewal at each; renewals at 0, 0.1, 0.2 ..."""
    t_s = phase_s + 0.05 * np.arange(1, n + 1)
    t_s = t_s + np.random.default_rng(seed).uniform(0, jitter_s, n)
    return t_s, np.floor(t_s / PERIOD_S)


@pytest.mark.parametrize("phase_s", [0.0, 0.013, 0.0489, 0.049, 0.0495])
def test_renewals_are_a_period_apart_whatever_the_moment_they_are_asked_at(phase_s):
    t_s, number = _polled(phase_s)
    found = renewals_of(t_s, number)
    assert found.period_s == pytest.approx(PERIOD_S, abs=0.003)
    late_s = found.t_s - PERIOD_S * number[found.sample]
    assert np.ptp(late_s[5:]) < 0.012
    assert (found.t_s <= t_s[found.sample]).all()


def test_a_sensor_that_says_nothing_new_for_a_while_is_followed():
    t_s, number = _polled(0.013)
    number[(number > 50) & (number < 60)] = 50
    found = renewals_of(t_s, number)
    late_s = found.t_s - PERIOD_S * number[found.sample]
    assert np.ptp(late_s[5:]) < 0.012


def test_one_that_is_always_new_is_taken_as_it_is():
    t_s = np.array([0.0, 0.05, 0.1, 0.15])
    found = renewals_of(t_s, np.array([1.0, 2.0, 3.0, 4.0]))
    assert found.period_s is None
    assert found.t_s.tolist() == t_s.tolist()


def test_power_that_is_renewed_counts_for_the_time_before_and_rests_where_it_stays():
    """Renewals at 0.1 s ... of which some say the same."""
    t_s, number = _polled(0.02, jitter_s=0.0, n=24)
    watts = np.where(number < 6, 100.0, 300.0) + np.where((number >= 6) & (number < 9), 10.0 * number, 0.0)
    rows = [{"t_s": t, "device": "a", "power_w": w} for t, w in zip(t_s, watts, strict=True)]
    readings = readings_of(pa.Table.from_pylist(rows, schema=POWER), ("a",))
    gaps_s, watts_between = np.diff(readings.t_s), np.diff(readings.energy_j) / np.diff(readings.t_s)
    assert gaps_s[0] == pytest.approx(0.5, abs=0.06)
    assert watts_between[0] == pytest.approx((4 * 100 + 360) / 5, rel=0.05)
    assert watts_between[1:] == pytest.approx([370.0, 380.0, 300.0], rel=0.01)
