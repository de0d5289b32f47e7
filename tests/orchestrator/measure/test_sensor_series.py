"""Updates of a sensor's reading, its lag, and counters that wrap or fall."""

import numpy as np
import pytest

from orchestrator.measure.sensor_series import SensorSeries, fell_unobserved, without_wraps

PERIOD_S = 0.1


def _polled(phase_s: float, jitter_s: float = 0.002, n: int = 400, seed: int = 0) -> SensorSeries:
    """Reads twice a period, with the number of the last update as value; updates at 0, 0.1, 0.2 ..."""
    t_s = phase_s + 0.05 * np.arange(1, n + 1)
    t_s = t_s + np.random.default_rng(seed).uniform(0, jitter_s, n)
    return SensorSeries(t_s, np.floor(t_s / PERIOD_S))


@pytest.mark.parametrize("phase_s", [0.0, 0.013, 0.0489, 0.049, 0.0495])
def test_updates_are_a_period_apart_at_any_phase_of_the_reads(phase_s):
    series = _polled(phase_s)
    updates = series.updates()
    assert updates.period_s == pytest.approx(PERIOD_S, abs=0.003)
    late_s = updates.t_s - PERIOD_S * series.values[updates.sample]
    assert np.ptp(late_s[5:]) < 0.012
    assert (updates.t_s <= series.t_s[updates.sample]).all()


def test_updates_without_a_new_value_do_not_shift_later_ones():
    series = _polled(0.013)
    series.values[(series.values > 50) & (series.values < 60)] = 50
    updates = series.updates()
    late_s = updates.t_s - PERIOD_S * series.values[updates.sample]
    assert np.ptp(late_s[5:]) < 0.012


def test_if_every_read_is_new_reads_are_updates_without_lag():
    series = SensorSeries(np.array([0.0, 0.05, 0.1, 0.15]), np.array([1.0, 2.0, 3.0, 4.0]))
    updates = series.updates()
    assert updates.period_s is None
    assert updates.t_s.tolist() == series.t_s.tolist()
    assert series.sampling_limited
    assert series.lag_s == 0


def test_reads_that_repeat_values_lag_half_an_update_period():
    series = _polled(0.02, jitter_s=0.0)
    assert not series.sampling_limited
    assert series.update_period_s == pytest.approx(PERIOD_S)
    assert series.lag_s == pytest.approx(PERIOD_S / 2)


def test_constant_power_has_the_longest_known_update_period():
    assert SensorSeries(np.arange(0, 1, 0.02), np.full(50, 300.0)).update_period_s == 0.1


def test_reads_without_a_value_are_left_out():
    series = SensorSeries.known(np.array([0.0, 1.0, 2.0]), np.array([5.0, np.nan, 7.0]))
    assert (series.t_s.tolist(), series.values.tolist()) == ([0.0, 2.0], [5.0, 7.0])


def test_a_wrap_of_32_bits_is_removed_and_another_fall_is_reported():
    t_s, energy_j = np.arange(0, 1, 0.05), np.arange(20.0)
    wrapped = np.where(energy_j < 12, energy_j, energy_j - 2**32 / 1e3)
    counter, falls_s = without_wraps(SensorSeries(t_s, wrapped))
    assert counter.values == pytest.approx(energy_j)
    assert falls_s == ()
    counter, falls_s = without_wraps(SensorSeries(t_s, np.where(energy_j < 12, energy_j, energy_j - 500)))
    assert falls_s == ((pytest.approx(0.55), pytest.approx(0.6)),)
    assert np.all(np.diff(counter.values) >= 0)


def test_a_fall_is_unobserved_in_a_long_pause_of_the_samples():
    assert fell_unobserved([(2.0, 2.05), (3.0, 4.5)])
    assert not fell_unobserved([(2.0, 2.05), (3.0, 3.9)])
