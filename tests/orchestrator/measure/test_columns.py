"""Intervals in a window, and energy between samples."""

import numpy as np
import pytest

from orchestrator.measure.columns import gaps, overlap_ratio, running_integral
from orchestrator.measure.counter import Counter
from orchestrator.measure.gpu_energy import PowerIntegral
from orchestrator.measure.sensor_series import SensorSeries


def test_overlap_is_the_share_of_each_interval_inside():
    start_s, end_s = np.array([0.0, 2.0, 4.0, 9.0, 5.0]), np.array([2.0, 4.0, 8.0, 10.0, 5.0])
    assert overlap_ratio(start_s, end_s, (3.0, 6.0)).tolist() == [0.0, 0.5, 0.5, 0.0, 1.0]


def test_gaps_are_what_no_interval_covers():
    start_s, end_s = np.array([6.0, 1.0, 2.0]), np.array([7.0, 3.0, 2.5])
    assert gaps(start_s, end_s, (0.0, 8.0)) == [(0.0, 1.0), (3.0, 6.0), (7.0, 8.0)]
    assert gaps(start_s, end_s, (1.5, 2.5)) == []
    assert gaps(np.array([]), np.array([]), (0.0, 2.0)) == [(0.0, 2.0)]
    assert gaps(np.array([5.0]), np.array([9.0]), (0.0, 2.0)) == [(0.0, 2.0)]


def test_a_power_ramp_is_integrated_with_interpolated_edges():
    t_s = np.array([0.0, 10.0])
    power, counter = SensorSeries(t_s, np.array([0.0, 100.0])), SensorSeries(t_s, np.array([0.0, 500.0]))
    assert PowerIntegral(power).delta_j((2.0, 4.0)) == pytest.approx(60.0)  # 30 W over 2 s
    assert Counter.computed(counter).delta_j((2.0, 4.0)) == pytest.approx(100.0)  # linear


def test_a_power_step_at_one_instant_is_exact():
    t_s, power_w = np.array([0.0, 1.0, 1.0, 3.0]), np.array([50.0, 50.0, 200.0, 200.0])
    assert running_integral(t_s, power_w).tolist() == [0.0, 50.0, 50.0, 450.0]
    assert PowerIntegral(SensorSeries(t_s, power_w)).delta_j((0.5, 2.0)) == pytest.approx(25.0 + 200.0)
    counter = SensorSeries(t_s, np.array([0.0, 50.0, 50.0, 450.0]))
    assert Counter.computed(counter).delta_j((0.5, 2.0)) == pytest.approx(225.0)


def test_energy_beyond_the_samples_is_nan():
    t_s = np.array([0.0, 1.0, 2.0])
    assert np.isnan(PowerIntegral(SensorSeries(t_s, t_s)).delta_j((0.5, 2.5)))
    assert np.isnan(Counter.computed(SensorSeries(t_s, t_s)).delta_j((0.5, 5.0)))
