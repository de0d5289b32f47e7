"""Sensors whose truth is known are told from their readings."""

from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.h200.sensor_analysis import (
    averaging_window,
    between_changes,
    changes_in,
    changes_of,
    counter_delay,
    counter_mean,
    integral_mean,
    on_share,
    renewal,
    resolution,
    step_response,
    swing,
)

LOW_MW, HIGH_MW = 100_000, 600_000
POLLED_S = 0.001
WAVES = ((2.03, 4), (0.503, 8), (0.207, 20), (0.103, 40), (0.053, 80), (0.021, 200))
"""Period and turns."""


@dataclass(frozen=True)
class Synthetic:
    """A load that is on and off, and a sensor that tells its mean over a window, renewed now and then."""

    edges_s: np.ndarray
    times_s: np.ndarray
    renewed_s: np.ndarray

    @classmethod
    def of(cls, update_s: float, phase_s: float = 0.037, waves: tuple = WAVES) -> "Synthetic":
        edges_s, at_s = [], 1.0
        for period_s, turns in waves:
            edges_s += [(at_s + k * period_s, at_s + (k + 0.5) * period_s) for k in range(turns)]
            at_s += turns * period_s + 0.5
        times_s = np.arange(0.2, at_s, POLLED_S) + np.random.default_rng(1).uniform(
            0, 2e-4, len(np.arange(0.2, at_s, POLLED_S))
        )
        return cls(np.array(edges_s), times_s, np.floor((times_s - phase_s) / update_s) * update_s + phase_s)

    def on_s(self, at_s: np.ndarray) -> np.ndarray:
        spans = [np.clip(at_s, on, off) - on for on, off in self.edges_s]
        return np.sum(spans, axis=0)

    def power_mw(self, window_s: float, delay_s: float = 0.0) -> np.ndarray:
        end_s = self.renewed_s - delay_s
        share = (self.on_s(end_s) - self.on_s(end_s - window_s)) / window_s
        return np.round(LOW_MW + (HIGH_MW - LOW_MW) * share)

    def counter_mj(self, delay_s: float = 0.0) -> np.ndarray:
        end_s = self.renewed_s - delay_s
        return np.round(LOW_MW * end_s + (HIGH_MW - LOW_MW) * self.on_s(end_s))


@pytest.mark.parametrize(
    ("update_s", "window_s", "delay_s"), [(0.1, 0.025, 0.0), (0.1, 0.1, 0.0), (0.02, 0.01, 0.0), (0.1, 0.025, 0.03)]
)
def test_window_delay_and_levels_are_told_of_a_sensor_that_averages_part_of_the_time(update_s, window_s, delay_s):
    sensor = Synthetic.of(update_s)
    changed = changes_of(sensor.times_s, sensor.power_mw(window_s, delay_s))
    found = averaging_window(*changed, sensor.edges_s, longest_s=0.25, longest_delay_s=0.2)
    assert found is not None
    assert found.window_s == pytest.approx(window_s, abs=0.0015)
    assert found.delay_s == pytest.approx(delay_s, abs=0.0015)
    assert (found.low, found.high) == pytest.approx((LOW_MW, HIGH_MW), rel=0.02)
    assert found.r2 > 0.999


def test_a_mean_of_a_second_is_told_from_slow_waves():
    sensor = Synthetic.of(0.1, waves=WAVES[:2])
    changed = changes_of(sensor.times_s, sensor.power_mw(1.0))
    found = averaging_window(*changed, sensor.edges_s, longest_s=1.5, longest_delay_s=0.3)
    assert found is not None
    assert found.window_s == pytest.approx(1.0, abs=0.01)


def test_a_sensor_that_another_load_moved_does_not_fit():
    sensor = Synthetic.of(0.1)
    noise = np.random.default_rng(2).normal(size=500)
    found = averaging_window(np.linspace(1, 30, 500), noise, sensor.edges_s, longest_s=0.25, longest_delay_s=0.2)
    assert found is not None
    assert found.r2 < 0.1


@pytest.mark.parametrize("delay_s", [0.0, 0.045])
def test_a_counter_tells_its_delay_and_both_powers(delay_s):
    sensor = Synthetic.of(0.1)
    changed = changes_of(sensor.times_s, sensor.counter_mj(delay_s))
    found = counter_delay(*changed, sensor.edges_s, longest_s=0.3)
    assert found is not None
    assert found.delay_s == pytest.approx(delay_s, abs=0.002)
    assert (found.low, found.high) == pytest.approx((LOW_MW, HIGH_MW), rel=1e-3)


def test_a_reading_is_renewed_as_often_as_it_changes():
    sensor = Synthetic.of(0.04, waves=((0.503, 8),))
    found = renewal(sensor.times_s, sensor.power_mw(1.0))
    assert found is not None
    assert found.median_s == pytest.approx(0.04, abs=2e-3)
    assert found.polled_s == pytest.approx(POLLED_S, rel=0.05)
    assert renewal(sensor.times_s, np.full(len(sensor.times_s), 5.0)) is None


def test_the_resolution_is_the_step_that_all_changes_have_in_common():
    assert resolution(np.array([100.0, 100.0, 160.0, 70.0])) == 30
    assert resolution(np.array([7.0, 7.0])) is None


def test_the_counter_is_interpolated_between_its_steps_and_the_integral_between_readings():
    times_s = np.arange(0, 10, 0.001)
    held_s = np.floor(times_s / 0.1) * 0.1
    assert counter_mean(times_s, 300.0 * held_s, 1.234, 7.891) == pytest.approx(300.0, rel=1e-3)
    assert integral_mean(times_s, 2 * times_s, 1.234, 7.891) == pytest.approx(1.234 + 7.891)
    assert integral_mean(times_s, times_s, 1.0, 12.0) is None
    assert counter_mean(times_s, 300.0 * held_s, 0.0, 5.0) is None


def test_a_span_between_changes_of_the_counter_and_what_of_it_was_on():
    times_s = np.arange(0, 10, 0.001)
    span = between_changes(times_s, np.floor(times_s / 0.1), 1.234, 7.891)
    assert span == pytest.approx((1.3, 7.8), abs=0.002)
    assert on_share(np.array([[1.0, 1.5], [2.0, 3.0]]), 1.25, 2.25) == pytest.approx(0.5)
    assert between_changes(times_s, np.zeros(len(times_s)), 1.0, 7.0) is None


@pytest.mark.parametrize(("down", "ends"), [(False, (10.0, 110.0)), (True, (110.0, 10.0))])
def test_a_ramp_crosses_its_shares_in_turn(down, ends):
    times_s = np.arange(0, 5, 0.001)
    ramp = 10 + 100 * np.clip((times_s - 1.1) / 1.0, 0, 1)
    found = step_response(times_s, 120 - ramp if down else ramp, 1.0, 0.2, 4.9)
    assert found is not None
    assert (found.t10_s, found.t50_s, found.t90_s) == pytest.approx((0.2, 0.6, 1.0), abs=0.002)
    assert (found.from_value, found.to_value) == ends
    assert step_response(times_s, np.full(len(times_s), 5.0), 1.0, 0.2, 4.9) is None


def test_the_swing_leaves_outliers_out():
    assert swing(np.array([10.0] * 50 + [90.0] * 50 + [5000.0])) == pytest.approx(80.0)


def test_changes_are_not_made_up_between_spans():
    spans = [(np.array([0.0, 1.0]), np.array([1.0, 2.0])), (np.array([9.0, 10.0]), np.array([7.0, 7.0]))]
    times_s, values = changes_in(spans)
    assert (times_s.tolist(), values.tolist()) == ([1.0], [2.0])
    assert changes_in([])[0].size == 0
