"""Readings of counters that move in steps, and what lies between two of them."""

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.attribution.energy_model import Timeline
from orchestrator.attribution.readings import Readings, devices_of, limit_w, readings_of, renewals_of
from orchestrator.records.series import POWER


def _power(*rows):
    names = ("t_s", "device", "power_w", "energy_j")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=POWER)


def test_only_samples_in_which_the_counter_moved_are_readings():
    power = _power(
        (0.0, "a", 100, 0), (0.05, "a", 100, 0), (0.1, "a", 120, 10), (0.15, "a", 120, 10), (0.2, "a", 90, 22)
    )
    readings = readings_of(power, devices_of(power))
    assert readings.t_s.tolist() == [0.0, 0.1, 0.2]
    assert readings.energy_j.tolist() == [0.0, 10.0, 22.0]


@pytest.mark.parametrize("counter", [None, 7.0])
def test_without_a_counter_that_moves_it_is_the_integral_of_power(counter):
    power = _power((0.0, "a", 100, counter), (1.0, "a", 200, counter), (3.0, "a", 200, counter))
    readings = readings_of(power, ("a",))
    assert readings.energy_j.tolist() == [0.0, 150.0, 550.0]


def test_a_counter_that_fell_is_not_believed_and_one_that_wrapped_is():
    fell = _power((0.0, "a", 100, 500.0), (1.0, "a", 100, 600.0), (2.0, "a", 100, 3.0))
    assert readings_of(fell, ("a",)).energy_j.tolist() == [0.0, 100.0, 200.0]
    wrapped = 2**32 / 1000 - 50
    rows = (0.0, "a", 100, wrapped), (1.0, "a", 100, wrapped + 40), (2.0, "a", 100, 30.0)
    assert readings_of(_power(*rows), ("a",)).energy_j == pytest.approx([0.0, 40.0, 80.0])


def test_a_counter_that_began_anew_while_nobody_looked_leaves_nothing_to_attribute():
    rows = [(t_s, "a", 100.0, 100.0 * t_s if t_s < 2 else t_s) for t_s in (0.0, 1.0, 9.0, 10.0)]
    assert readings_of(_power(*rows), ("a",)) is None


def test_the_limit_is_what_was_enforced_on_all_gpus():
    rows = [{"t_s": 0.1 * i, "device": name, "power_limit_w": 300.0 + (i == 3)} for i in range(9) for name in "ab"]
    assert limit_w(pa.Table.from_pylist(rows, schema=POWER), ("a", "b")) == 600.0
    assert limit_w(_power((0.0, "a", 1, 1)), ("a",)) is None


def test_devices_add_up_where_all_were_read():
    power = _power((0.0, "a", 0, 0), (0.1, "b", 0, 5), (1.0, "a", 0, 10), (1.1, "b", 0, 25), (2.0, "a", 0, 20))
    assert devices_of(power) == ("a", "b")
    readings = readings_of(power, ("a", "b"))
    assert readings is None
    more = pa.concat_tables([power, _power((2.2, "b", 0, 47))])
    both = readings_of(more, ("a", "b"))
    assert both.t_s.tolist() == [1.0, 2.0]
    assert both.energy_j == pytest.approx([0.0, 10 + 20])


def test_a_device_that_was_not_read_leaves_nothing_to_attribute():
    power = _power((0.0, "a", 0, 0), (1.0, "a", 0, 10))
    assert readings_of(power, ("a", "b")) is None
    assert readings_of(power, ()) is None


def test_readings_are_taken_together_and_the_last_is_kept():
    readings = Readings(t_s=np.arange(0, 1.05, 0.1), energy_j=np.arange(11.0))
    few = readings.every(0.3)
    assert few.t_s == pytest.approx([0.0, 0.3, 0.6, 1.0])
    assert few.energy_j[-1] == 10.0
    assert readings.every(5.0).t_s == pytest.approx([0.0, 1.0])


def test_what_runs_spread_over_their_time_is_found_between_edges():
    line = Timeline(np.array([1.0, 4.0]), np.array([3.0, 5.0]), np.array([[10.0], [4.0]]))
    assert line.between(np.array([0.0, 2.0, 3.5, 4.5, 9.0]))[:, 0].tolist() == [5.0, 5.0, 2.0, 2.0]


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
