"""The fake sensors and counter, for a known power."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pynvml
import pytest

from tests.fake_nvml.fake_gpus import H100, FakeGpu, FakeGpus, Sensor, Shape

HOURS_MS = 3_600_000.0 * 10_000  # no update within a test


@pytest.fixture
def gpu(fake_gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    fake_gpus.load(monkeypatch)
    pynvml.nvmlInit()
    yield fake_gpus[0]
    pynvml.nvmlShutdown()


def _counter_mj() -> int:
    return pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(0))


def _readings_w() -> tuple[float, float, float]:
    """Return the plain call, the average field and the instantaneous field."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    fields = pynvml.nvmlDeviceGetFieldValues(handle, [185, 186])
    return pynvml.nvmlDeviceGetPowerUsage(handle) / 1000, *(each.value.uiVal / 1000 for each in fields)


@pytest.mark.parametrize("limit_w", [700, 520, 400, 330, 250])
@pytest.mark.parametrize("shape", [Shape.SINE, Shape.SQUARE])
def test_energy_is_the_integral_of_a_clipped_wave(fake_gpus, shape, limit_w):
    gpu = fake_gpus[0]
    start_ns = time.monotonic_ns() + 10**9
    gpu.set_power_limit(limit_w)
    gpu.set_power(400, amplitude_w=200, period_s=0.7, shape=shape, at_ns=start_ns)
    at_ns = np.linspace(start_ns, start_ns + 3_100_000_000, 40_001).astype(np.int64)
    power_w = [gpu.power_w(int(each)) for each in at_ns]
    assert max(power_w) == pytest.approx(min(limit_w, 600), abs=0.01)
    assert min(power_w) == pytest.approx(200, abs=0.01)
    for until in (4_000, 20_000, 40_000):
        truth_j = np.trapezoid(power_w[: until + 1], at_ns[: until + 1]) / 1e9
        assert gpu.energy_j(int(at_ns[until])) - gpu.energy_j(start_ns) == pytest.approx(truth_j, rel=1e-3)


def test_a_wave_keeps_its_phase_when_the_limit_moves(fake_gpus):
    gpu = fake_gpus[0]
    gpu.set_power(400, amplitude_w=100, period_s=1_000)
    quarter_ns = time.monotonic_ns() + 250 * 10**9
    before = gpu.power_w(quarter_ns)
    gpu.set_power_limit(650)
    assert gpu.power_w(quarter_ns) == before == pytest.approx(500, abs=0.01)


def test_a_change_may_be_dated_but_not_before_the_last(fake_gpus):
    gpu = fake_gpus[0]
    now_ns = time.monotonic_ns()
    gpu.set_power(500, at_ns=now_ns + 10**10)
    assert [gpu.power_w(now_ns + s * 10**9) for s in (9, 11)] == [H100.idle_power_w, 500]
    with pytest.raises(AssertionError):
        gpu.set_power(600, at_ns=now_ns)


def test_the_plain_call_is_a_one_second_average_and_the_field_is_not(gpu):
    time.sleep(0.05)
    gpu.set_power(500)
    plain_w, average_w, instant_w = _readings_w()
    assert instant_w == 500
    assert 70 <= plain_w < 450
    assert 70 <= average_w < 450
    gpu.set_power_reading(0)
    assert _readings_w() == (0, 0, 0)


def test_readings_update_by_their_period_and_average_over_their_window(make_fake_gpus, monkeypatch):
    sensors = [Sensor(update_period_ms=HOURS_MS), Sensor(instant_window_ms=60_000), Sensor(counter_period_ms=HOURS_MS)]
    machine = make_fake_gpus([replace(H100, sensor=sensor) for sensor in sensors])
    machine.load(monkeypatch)
    pynvml.nvmlInit()
    for gpu in machine:
        gpu.set_power(500)
    time.sleep(0.02)
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(3)]
    stale, averaged, instant = (pynvml.nvmlDeviceGetFieldValues(h, [186])[0].value.uiVal / 1000 for h in handles)
    counters = [pynvml.nvmlDeviceGetTotalEnergyConsumption(h) for h in handles]
    pynvml.nvmlShutdown()
    assert stale == 70
    assert 70 < averaged < 200  # 20 ms of 500 W in a minute of 70 W
    assert instant == 500
    assert counters[0] > 10_000 > counters[2] == 0


def test_a_counter_sticks_runs_on_and_wraps(gpu):
    gpu.set_power(500)
    gpu.stick_counter()
    stuck_mj = _counter_mj()
    time.sleep(0.02)
    assert _counter_mj() == stuck_mj
    gpu.free_counter()
    assert _counter_mj() >= stuck_mj + 10_000
    gpu.set_counter(10**9, wrap_mj=10**9)
    truth_mj = gpu.energy_j() * 1000
    assert truth_mj - 1 <= _counter_mj() < 10**8


def test_the_clipped_area_of_a_sine_is_its_closed_form(fake_gpus):
    """A clip at the mean takes amplitude · period / π from each period."""
    gpu = fake_gpus[0]
    gpu.set_power_limit(300)
    start_ns = time.monotonic_ns() + 10**9
    gpu.set_power(300, amplitude_w=100, period_s=2, at_ns=start_ns)
    taken_j = 300 * 20 - (gpu.energy_j(start_ns + 20 * 10**9) - gpu.energy_j(start_ns))
    assert taken_j == pytest.approx(10 * 100 * 2 / math.pi, rel=1e-9)
