"""Work on a fake GPU: it ends by itself, obeys limits set meanwhile, and stays exact over thousands of changes."""

import time
from itertools import pairwise

import numpy as np
import pynvml
import pytest

from tests.fake_nvml import layout
from tests.fake_nvml.children import ask
from tests.fake_nvml.fake_gpus import A100, H100_SENSOR, SENSED_A100, SENSED_H100, V100, FakeGpus, Nvml, Reason
from tests.fake_nvml.layout import CallClass

SECOND_NS = 10**9


def test_work_ends_by_itself_and_the_gpu_rests(fake_gpus):
    gpu, start_ns = fake_gpus[0], time.monotonic_ns() + SECOND_NS
    gpu.work(start_ns, start_ns + 2 * SECOND_NS, 400, rest_w=90)
    at = [start_ns + each * SECOND_NS // 2 for each in (-1, 0, 3, 4, 8)]
    assert [gpu.power_w(each) for each in at] == [70, 400, 400, 90, 90]
    assert gpu.energy_j(at[-1]) - gpu.energy_j(at[0]) == pytest.approx(35 + 800 + 180)
    gpu.work(at[-1], at[-1] + SECOND_NS, 300, rest_w=80)
    assert gpu.energy_j(at[-1] + 2 * SECOND_NS) - gpu.energy_j(at[0]) == pytest.approx(35 + 800 + 180 + 300 + 80)


def test_a_limit_set_meanwhile_acts_on_planned_work_too(fake_gpus):
    gpu, start_ns = fake_gpus[0], time.monotonic_ns()
    gpu.work(start_ns, start_ns + 10 * SECOND_NS, 400, rest_w=90)
    gpu.work(start_ns + 10 * SECOND_NS, start_ns + 20 * SECOND_NS, 600, rest_w=90)
    gpu.set_power_limit(300)
    set_ns = time.monotonic_ns()
    ends_j = [gpu.energy_j(start_ns + each * SECOND_NS) - gpu.energy_j(start_ns) for each in (10, 20, 21)]
    before_j = (set_ns - start_ns) / 1e9 * 100
    assert ends_j == pytest.approx([3000 + before_j, 6000 + before_j, 6090 + before_j], abs=1)
    assert gpu.power_limit_w == 300


def test_a_limit_set_at_rest_changes_no_power(fake_gpus):
    gpu, start_ns = fake_gpus[0], time.monotonic_ns()
    gpu.work(start_ns, start_ns + 1_000_000, 400, rest_w=90, sm_clock_mhz=1200)
    time.sleep(0.01)
    gpu.set_power_limit(650)
    later_ns = time.monotonic_ns()
    assert gpu.power_w() == 90
    assert gpu.energy_j(later_ns + SECOND_NS) - gpu.energy_j(later_ns) == pytest.approx(90)
    program = "say([nvmlDeviceGetClockInfo(gpus[0], 1), nvmlDeviceGetCurrentClocksEventReasons(gpus[0])])"
    assert ask(fake_gpus, program) == [1980, Reason.GPU_IDLE]


def test_minutes_of_hundreds_of_changes_a_second_stay_exact(fake_gpus):
    gpu, rng = fake_gpus[0], np.random.default_rng(5)
    n_changes = layout.KEPT + 5_000
    start_ns = time.monotonic_ns() + SECOND_NS
    lengths_ns = rng.integers(500_000, 4_000_000, n_changes)
    edges_ns = start_ns + np.concatenate([[0], np.cumsum(lengths_ns)])
    power_w = rng.uniform(100, 650, n_changes)
    for watts, (begins, ends) in zip(power_w.tolist(), pairwise(edges_ns.tolist()), strict=True):
        gpu.work(begins, ends, watts, rest_w=90)
    assert (edges_ns[-1] - start_ns) / 1e9 > 280
    energy_j = np.concatenate([[0], np.cumsum(power_w * lengths_ns / 1e9)])
    for first, last in [(6_000, 7_000), (10_000, n_changes), (n_changes - 1, n_changes)]:
        found_j = gpu.energy_j(int(edges_ns[last])) - gpu.energy_j(int(edges_ns[first]))
        assert found_j == pytest.approx(energy_j[last] - energy_j[first], rel=1e-7)
    assert gpu.power_w(int(edges_ns[9_000])) == power_w[9_000]
    with pytest.raises(AssertionError, match="kept"):
        gpu.energy_j(start_ns)


def test_faults_may_be_planned(fake_gpus, monkeypatch):
    fake_gpus.load(monkeypatch)
    pynvml.nvmlInit()
    now_ns = time.monotonic_ns()
    past, future = (now_ns - 2 * SECOND_NS, now_ns - SECOND_NS), (now_ns + 60 * SECOND_NS, 0)
    spans = [past, (now_ns - SECOND_NS, 0), (now_ns - SECOND_NS, now_ns + 60 * SECOND_NS), future]
    for gpu, (at_ns, until_ns) in zip(fake_gpus, spans, strict=True):
        gpu.fail(CallClass.ENERGY, Nvml.TIMEOUT, at_ns=at_ns, until_ns=until_ns)
        gpu.set_power_reading(0, at_ns=at_ns, until_ns=until_ns)
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(4)]
    fields = [pynvml.nvmlDeviceGetFieldValues(each, [186, 83]) for each in handles]
    pynvml.nvmlShutdown()
    assert [counter.nvmlReturn for _, counter in fields] == [0, Nvml.TIMEOUT, Nvml.TIMEOUT, 0]
    assert [power.value.uiVal for power, _ in fields] == [70_000, 0, 0, 70_000]


def test_a_counter_sticks_from_a_planned_instant_for_a_planned_time(fake_gpus, monkeypatch):
    fake_gpus.load(monkeypatch)
    pynvml.nvmlInit()
    gpu, now_ns = fake_gpus[0], time.monotonic_ns()
    gpu.set_power(700)
    gpu.stick_counter(at_ns=now_ns + 20_000_000, until_ns=now_ns + 60_000_000)
    handle, seen = pynvml.nvmlDeviceGetHandleByIndex(0), []
    while time.monotonic_ns() < now_ns + 90_000_000:
        seen.append((time.monotonic_ns() - now_ns, pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)))
        time.sleep(0.002)
    pynvml.nvmlShutdown()
    stuck = {mj for at_ns, mj in seen if 21_000_000 < at_ns < 58_000_000}
    assert len(stuck) == 1
    assert seen[0][1] < stuck.pop() < seen[-1][1] - 20_000


def test_temperature_follows_power_and_cools_at_rest(fake_gpus):
    gpu, start_ns = fake_gpus[0], time.monotonic_ns()
    gpu.warm(ambient_c=25, celsius_per_w=0.1, tau_s=0.02, now_c=25)
    gpu.work(start_ns, start_ns + 150_000_000, 500, rest_w=100)
    while (now_ns := time.monotonic_ns()) < start_ns + 120_000_000:
        time.sleep(0.01)
    assert now_ns > start_ns + 150_000_000 or gpu.temperature_c == pytest.approx(75, abs=1)
    time.sleep(0.25)
    assert ask(fake_gpus, "say(nvmlDeviceGetTemperature(gpus[0], 0))") == 35
    gpu.set_temperature(50)
    assert gpu.temperature_c == 50


def test_sensors_are_those_of_their_generation(make_fake_gpus):
    machine = make_fake_gpus([V100, SENSED_A100, SENSED_H100])
    for gpu in machine:
        gpu.set_power(280)
    program = """
time.sleep(0.3)
for g in gpus: code(nvmlDeviceGetPowerUsage, g)
fields = [nvmlDeviceGetFieldValues(g, [186, 185]) for g in gpus]
say([[nvmlDeviceGetPowerUsage(g) for g in gpus], [[v.nvmlReturn for v in each] for each in fields],
     [each[0].value.uiVal for each in fields]])
"""
    plain, codes, instant = ask(machine, program)
    assert plain[:2] == [280_000, 280_000]
    assert plain[2] < 280_000  # an average of the last second
    assert codes == [[3, 3], [0, 0], [0, 0]]
    assert instant[1:] == [280_000, 280_000]
    assert H100_SENSOR.update_period_ms == 100
    assert A100.sensor.update_period_ms == 0


def test_another_process_may_drive_the_gpus_of_its_environment(fake_gpus: FakeGpus):
    program = """
from tests.fake_nvml.fake_gpus import FakeGpus
machine = FakeGpus.of_environment()
machine[2].set_power(321)
say(len(machine))
"""
    assert ask(fake_gpus, program) == 4
    assert fake_gpus[2].power_w() == 321


def test_a_sensor_that_is_off_leaves_the_counter_alone(fake_gpus, monkeypatch):
    fake_gpus.load(monkeypatch)
    pynvml.nvmlInit()
    fake_gpus[0].set_power(500)
    fake_gpus[0].set_power_gain(1.1)
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    started_ns = time.monotonic_ns()
    before_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    begun_ns = time.monotonic_ns()
    time.sleep(0.1)
    ending_ns = time.monotonic_ns()
    used_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) - before_mj
    ended_ns = time.monotonic_ns()
    power_mw = pynvml.nvmlDeviceGetFieldValues(handle, [186])[0].value.uiVal
    pynvml.nvmlShutdown()
    assert power_mw == 550_000
    assert (ending_ns - begun_ns) / 2e3 - 1 <= used_mj <= (ended_ns - started_ns) / 2e3 + 1


def test_the_sensors_of_two_gpus_update_at_different_times(make_fake_gpus, monkeypatch):
    machine = make_fake_gpus([SENSED_H100] * 2)
    machine.load(monkeypatch)
    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(2)]
    apart_us = []
    for _ in range(21):
        stamps_us = [pynvml.nvmlDeviceGetFieldValues(each, [186])[0].timestamp for each in handles]
        apart_us.append((stamps_us[1] - stamps_us[0]) % 100_000)
    pynvml.nvmlShutdown()
    assert np.median(apart_us) == pytest.approx(37_000, abs=100)
