"""The update period of a sensor, from samples and from polling."""

from dataclasses import replace

import numpy as np
import pytest

from collectors.errors import CollectorError
from collectors.polling import gpu_update_periods
from collectors.update_period import update_period
from tests.fake_nvml.gpu_models import A100_SENSOR, H100, H100_SENSOR, V100
from tests.fake_nvml.layout import CallClass
from tests.fake_nvml.terms import Nvml


def held(t_s: np.ndarray, period_s: float, power_w: np.ndarray) -> np.ndarray:
    """Return the readings of a sensor at these times, with one value per update."""
    return power_w[np.floor(t_s / period_s).astype(int)]


@pytest.mark.parametrize("period_s", [0.02, 0.1, 0.5])
def test_the_period_of_samples_that_are_fast_enough(period_s):
    rng = np.random.default_rng(7)
    t_s = np.sort(rng.uniform(0, 20, 8000))
    period = update_period(t_s, held(t_s, period_s, rng.integers(100, 600, 2000).astype(float)))
    assert period is not None
    assert period.period_s == pytest.approx(period_s, rel=0.05)
    assert period.error_s == pytest.approx(20 / 8000, rel=0.5)


def test_updates_that_repeat_a_value_do_not_lengthen_the_period():
    rng = np.random.default_rng(7)
    t_s = np.arange(0, 20, 0.005)
    period = update_period(t_s, held(t_s, 0.1, rng.integers(100, 103, 2000).astype(float)))
    assert period is not None
    assert period.period_s == pytest.approx(0.1, rel=0.05)


def test_missing_readings_are_left_out():
    t_s = np.arange(0, 20, 0.005)
    power_w = held(t_s, 0.1, np.arange(500.0))
    power_w[::3] = np.nan
    period = update_period(t_s, power_w)
    assert period is not None
    assert period.period_s == pytest.approx(0.1, rel=0.1)


def test_steady_power_and_slow_samples_have_no_period():
    t_s = np.arange(0, 20, 0.05)
    assert update_period(t_s, np.full(len(t_s), 70.0)) is None
    assert update_period(t_s, np.arange(len(t_s))) is None
    assert update_period([], []) is None


@pytest.mark.parametrize(("sensor", "period_s"), [(A100_SENSOR, 0.1), (H100_SENSOR, 0.1), (V100.sensor, 0.02)])
def test_the_period_of_a_gpu_under_load(make_fake_gpus, monkeypatch, sensor, period_s):
    machine = make_fake_gpus([replace(V100 if sensor is V100.sensor else H100, sensor=sensor)])
    machine.load(monkeypatch)
    machine[0].set_power(200, amplitude_w=90, period_s=0.73)
    n_counter_reads = machine[0].n_calls(CallClass.ENERGY)
    period = gpu_update_periods([machine[0].uuid], for_s=1.5)[machine[0].uuid]
    assert period is not None
    assert period.period_s == pytest.approx(period_s, rel=0.25)
    assert machine[0].n_calls(CallClass.ENERGY) <= n_counter_reads + 2


def test_a_gpu_that_does_not_answer_is_an_error(fake_gpus, monkeypatch):
    fake_gpus.load(monkeypatch)
    fake_gpus[0].fail(CallClass.DEVICE, Nvml.GPU_IS_LOST)
    with pytest.raises(CollectorError, match="gpu is lost"):
        gpu_update_periods([fake_gpus[0].uuid], for_s=0.1)
