"""Energy from ten seconds of samples, compared with the true energy of the fake GPU."""

import time

import numpy as np
import pytest

from collectors.sampler import Sampler
from collectors.sources import nvml
from tests.fake_nvml.gpu_models import SENSED_H100


@pytest.mark.slow
def test_counter_and_integral_are_within_a_percent_of_the_truth(make_fake_gpus, monkeypatch):
    machine = make_fake_gpus([SENSED_H100])
    machine.load(monkeypatch)
    gpu = machine[0]
    gpu.set_power(400, amplitude_w=250, period_s=1.7)
    sampler = Sampler(nvml.build([gpu.uuid]), 0.05)
    sampler.start()
    try:
        time.sleep(0.5)
        start_s = time.monotonic()
        time.sleep(10.0)
        end_s = time.monotonic()
        time.sleep(0.3)
        power = sampler.take(start_s - 0.2, end_s + 0.2)["power"]  # an update of the counter on either side
    finally:
        sampler.stop()
    truth_j = gpu.energy_j(round(end_s * 1e9)) - gpu.energy_j(round(start_s * 1e9))
    t_s = power["t_s"]
    grid_s = np.unique(np.concatenate([[start_s, end_s], t_s[(t_s > start_s) & (t_s < end_s)]]))
    integral_j = np.trapezoid(np.interp(grid_s, t_s, power["power_w"]), grid_s)
    updated = np.flatnonzero(np.diff(power["energy_j"])) + 1
    seen_s = (t_s[updated] + t_s[updated - 1]) / 2
    start_j, end_j = np.interp([start_s, end_s], seen_s, power["energy_j"][updated])
    assert integral_j == pytest.approx(truth_j, rel=0.01)
    assert end_j - start_j == pytest.approx(truth_j, rel=0.01)
