"""Polling readings of a GPU, each at its own pace."""

import time
from dataclasses import replace

import numpy as np
import pytest

from collectors.errors import CollectorError, GpuLost
from collectors.nvml_devices import Nvml
from collectors.polling import READINGS, call_cost_s, paced, poll, readers_of
from tests.fake_nvml.gpu_models import V100
from tests.fake_nvml.layout import CallClass
from tests.fake_nvml.terms import Nvml as Code


def test_every_reading_is_polled_at_its_own_pace(fake_gpus, monkeypatch):
    fake_gpus.load(monkeypatch)
    fake_gpus[0].set_power(300)
    with Nvml():
        readers = readers_of(fake_gpus[0].uuid)
        samples = poll(readers, time.monotonic() + 0.3)
    assert [reader.name for reader in readers] == list(READINGS)
    assert samples["power_w"][1][-1] == pytest.approx(300)
    counts = {name: len(series[0]) for name, series in samples.items()}
    assert counts["power_w"] > 2 * counts["average_power_w"] > 4 * 5
    assert counts["power_usage_w"] <= 31


def test_a_reading_that_the_gpu_lacks_is_left_out_and_one_that_fails_has_no_sample(make_fake_gpus, monkeypatch):
    machine = make_fake_gpus([V100])
    machine.load(monkeypatch)
    with Nvml():
        readers = readers_of(machine[0].uuid)
        assert [reader.name for reader in readers] == ["power_w", "energy_j", "power_usage_w"]
        machine[0].fail(CallClass.ENERGY, Code.UNKNOWN)
        samples = poll(readers, time.monotonic() + 0.05)
    assert samples["energy_j"] == ([], [])
    assert len(samples["power_w"][0]) > 5


def test_a_gpu_that_is_lost_ends_the_polling(make_fake_gpus, monkeypatch):
    machine = make_fake_gpus([V100])
    machine.load(monkeypatch)
    with Nvml():
        readers = readers_of(machine[0].uuid)
        machine[0].fail(CallClass.POWER, Code.GPU_IS_LOST)
        with pytest.raises(GpuLost, match="gpu is lost"):
            poll(readers, time.monotonic() + 5)


def test_an_expensive_call_is_polled_less_often(fake_gpus, monkeypatch):
    fake_gpus.load(monkeypatch)
    fake_gpus[0].delay(CallClass.ENERGY, 20)
    with Nvml():
        (reader,) = readers_of(fake_gpus[0].uuid, ("energy_j",))
        median_s, p99_s = call_cost_s(reader)
    assert 0.02 <= median_s <= p99_s
    assert paced(reader, median_s).every_s == pytest.approx(5 * median_s)
    assert paced(replace(reader, every_s=1.0), median_s).every_s == 1.0
    assert np.isfinite(reader.every_s)


def test_an_unknown_gpu_is_an_error(fake_gpus, monkeypatch):
    fake_gpus.load(monkeypatch)
    with Nvml(), pytest.raises(CollectorError):
        readers_of("GPU-nothing")
