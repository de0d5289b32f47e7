"""Sensors with known properties are recovered from their readings."""

from dataclasses import dataclass

import numpy as np
import pytest

from orchestrator.sensor.analysis import (
    between_updates,
    changes,
    counter_mean_w,
    fit_counter_delay,
    fit_window,
    integral_mean_w,
    load_share,
    resolution,
)

LOW_W, HIGH_W = 100.0, 600.0
WAVES = ((2.03, 4), (0.503, 8), (0.207, 20), (0.103, 40), (0.053, 80), (0.021, 200))
"""Period and turns."""


@dataclass(frozen=True)
class Synthetic:
    """A load that switches, and a sensor that shows its mean over a window at every update."""

    edges_s: np.ndarray
    times_s: np.ndarray
    updated_s: np.ndarray

    @classmethod
    def of(cls, update_s: float, phase_s: float = 0.037, waves: tuple = WAVES) -> "Synthetic":
        edges_s, at_s = [], 1.0
        for period_s, turns in waves:
            edges_s += [(at_s + k * period_s, at_s + (k + 0.5) * period_s) for k in range(turns)]
            at_s += turns * period_s + 0.5
        times_s = np.arange(0.2, at_s, 0.001)
        times_s = times_s + np.random.default_rng(1).uniform(0, 2e-4, len(times_s))
        return cls(np.array(edges_s), times_s, np.floor((times_s - phase_s) / update_s) * update_s + phase_s)

    def on_s(self, at_s: np.ndarray) -> np.ndarray:
        return np.sum([np.clip(at_s, on, off) - on for on, off in self.edges_s], axis=0)

    def power_w(self, window_s: float, delay_s: float = 0.0) -> np.ndarray:
        end_s = self.updated_s - delay_s
        return LOW_W + (HIGH_W - LOW_W) * (self.on_s(end_s) - self.on_s(end_s - window_s)) / window_s

    def energy_j(self, delay_s: float = 0.0) -> np.ndarray:
        end_s = self.updated_s - delay_s
        return LOW_W * end_s + (HIGH_W - LOW_W) * self.on_s(end_s)


@pytest.mark.parametrize(
    ("update_s", "window_s", "delay_s"), [(0.1, 0.025, 0.0), (0.1, 0.1, 0.0), (0.02, 0.01, 0.0), (0.1, 0.025, 0.03)]
)
def test_window_and_delay_are_recovered(update_s, window_s, delay_s):
    sensor = Synthetic.of(update_s)
    changed = changes([(sensor.times_s, sensor.power_w(window_s, delay_s))])
    fit = fit_window(*changed, sensor.edges_s, max_window_s=0.25, max_delay_s=0.2)
    assert fit is not None
    assert fit.window_s == pytest.approx(window_s, abs=0.0015)
    assert fit.delay_s == pytest.approx(delay_s, abs=0.0015)
    assert fit.r2 > 0.999


def test_a_mean_of_a_second_is_recovered_from_slow_waves():
    sensor = Synthetic.of(0.1, waves=WAVES[:2])
    changed = changes([(sensor.times_s, sensor.power_w(1.0))])
    fit = fit_window(*changed, sensor.edges_s, max_window_s=1.5, max_delay_s=0.3)
    assert fit is not None
    assert fit.window_s == pytest.approx(1.0, abs=0.01)


def test_readings_of_another_load_do_not_fit():
    noise = np.random.default_rng(2).normal(size=500)
    edges_s = Synthetic.of(0.1).edges_s
    fit = fit_window(np.linspace(1, 30, 500), noise, edges_s, max_window_s=0.25, max_delay_s=0.2)
    assert fit is not None
    assert fit.r2 < 0.1
    assert fit_window(np.arange(3.0), np.arange(3.0), edges_s, max_window_s=0.25, max_delay_s=0.2) is None


@pytest.mark.parametrize("delay_s", [0.0, 0.045])
def test_the_delay_of_a_counter_is_recovered(delay_s):
    sensor = Synthetic.of(0.1)
    changed = changes([(sensor.times_s, sensor.energy_j(delay_s))])
    fit = fit_counter_delay(*changed, sensor.edges_s, max_delay_s=0.3)
    assert fit is not None
    assert fit.delay_s == pytest.approx(delay_s, abs=0.002)
    assert fit.r2 > 0.999


def test_the_resolution_is_the_largest_common_step():
    assert resolution(np.array([0.1, 0.1, 0.16, 0.07])) == 0.03
    assert resolution(np.array([7.0, 7.0])) is None


def test_mean_powers_are_none_where_the_samples_do_not_cover_the_span():
    times_s = np.arange(0, 10, 0.001)
    held_s = np.floor(times_s / 0.1) * 0.1
    assert counter_mean_w(times_s, 300.0 * held_s, (1.234, 7.891)) == pytest.approx(300.0, rel=1e-3)
    assert counter_mean_w(times_s, 300.0 * held_s, (1.0, 20.0)) is None
    assert integral_mean_w(times_s, 100.0 + times_s, (2.0, 8.0)) == pytest.approx(105.0)
    assert integral_mean_w(times_s, 100.0 + times_s, (2.0, 11.0)) is None
    assert counter_mean_w(np.empty(0), np.empty(0), (1.0, 2.0)) is None


def test_a_span_between_updates_of_the_counter_and_the_share_of_the_load():
    times_s = np.arange(0, 10, 0.001)
    assert between_updates(times_s, np.floor(times_s / 0.1), (1.234, 7.891)) == pytest.approx((1.3, 7.8), abs=0.002)
    assert between_updates(times_s, np.zeros(len(times_s)), (1.0, 7.0)) == (1.0, 7.0)
    share = load_share(np.array([[1.0, 1.5], [2.0, 3.0]]), np.array([1.25]), np.array([2.25]))
    assert share.tolist() == pytest.approx([0.5])


def test_no_change_is_seen_between_two_spans():
    spans = [(np.array([0.0, 1.0]), np.array([1.0, 2.0])), (np.array([9.0, 10.0]), np.array([7.0, 7.0]))]
    assert [each.tolist() for each in changes(spans)] == [[1.0], [2.0]]
    assert [each.size for each in changes([])] == [0, 0]
