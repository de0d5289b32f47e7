"""The power source `nvml` on fake GPUs whose true values are known, and when the driver fails."""

import time
from dataclasses import replace

import numpy as np
import pytest

from collectors.errors import CollectorError, DriverMissing, GpuLost, UnknownGpu
from collectors.nvml_devices import Nvml as GpusOpen
from collectors.sampler import Sampler
from collectors.sources import SourceSpec, nvml
from tests.fake_nvml.fake_gpus import FakeGpus
from tests.fake_nvml.gpu_models import A100, GIB, H100, IDEAL, SENSED_H100, V100
from tests.fake_nvml.layout import CallClass
from tests.fake_nvml.terms import Nvml

NO_FIELDS = replace(H100, sensor=replace(IDEAL, has_power_fields=False))
SLICED = replace(A100, mig_memory_bytes=(10 * GIB, 20 * GIB))
POWER_CAP, THERMAL = 0x4, 0x20


@pytest.fixture
def gpus(fake_gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    fake_gpus.load(monkeypatch)
    return fake_gpus


def read(*devices: str):
    """One reading of each device."""
    with nvml.build(devices) as source:
        return [source.read(device) for device in source.devices]


def test_every_column_has_the_true_value(gpus):
    gpu = gpus[1]
    gpu.set_power(800)
    gpu.set_temperature(61)
    gpu.set_utilization(87)
    gpu.set_event_reasons(THERMAL)
    gpu.set_power_limit(500)
    before_s = time.monotonic()
    with nvml.build([gpu.uuid]) as source:
        first, second = source.read(gpu.uuid), source.read(gpu.uuid)
    assert before_s < first.t_s < second.t_s < time.monotonic()
    values = dict(first.values)
    assert 70 <= values.pop("average_power_w") <= 500
    energy_j = second.values["energy_j"] - values.pop("energy_j")
    assert energy_j == pytest.approx(500 * (second.t_s - first.t_s), abs=0.5)
    assert values.pop("sm_clock_mhz") == pytest.approx(1980 * (500 / 800) ** (1 / 3), abs=15)
    assert values == {
        "power_w": 500.0,
        "memory_clock_mhz": 2619.0,
        "temperature_c": 61.0,
        "utilization_ratio": 0.87,
        "clock_event_reasons": float(THERMAL | POWER_CAP),
        "power_limit_w": 500.0,
    }
    assert (first.errors, first.notes) == ({}, {})


def test_power_is_not_the_average_of_the_last_second(make_fake_gpus, monkeypatch):
    machine = make_fake_gpus([SENSED_H100])
    machine.load(monkeypatch)
    time.sleep(0.3)
    machine[0].set_power(600)
    time.sleep(0.25)
    (reading,) = read(machine[0].uuid)
    assert reading.values["power_w"] == 600
    assert reading.values["average_power_w"] < 560


def test_all_gpus_or_those_named_by_index_and_in_their_order(gpus):
    uuids = [gpu.uuid for gpu in gpus]
    assert nvml.build([]).devices == tuple(uuids)
    assert nvml.build(["2", uuids[0], "0"]).devices == (uuids[2], uuids[0])
    with pytest.raises(UnknownGpu, match="GPU id '9' matches 0"):
        nvml.build(["9"])
    with pytest.raises(CollectorError, match=r"remove the path x.csv"):
        SourceSpec("nvml", (), "x.csv").build()


def test_a_mig_instance_is_read_as_its_gpu_and_a_note_says_so(make_fake_gpus, monkeypatch):
    machine = make_fake_gpus([SLICED, H100])
    machine.load(monkeypatch)
    machine[0].set_power(300)
    with nvml.build([*machine[0].mig_uuids, machine[1].uuid]) as source:
        assert source.devices == (machine[0].uuid, machine[1].uuid)
        sliced, whole = (source.read(device) for device in source.devices)
    assert sliced.values["power_w"] == 300
    assert f"requested was {machine[0].mig_uuids[0]}" in sliced.notes[""]
    assert "the whole GPU's" in sliced.notes[""]
    assert "utilization_ratio" not in sliced.values
    assert "utilization_ratio" in sliced.notes
    assert whole.notes == {}


def test_before_ampere_the_plain_call_is_instantaneous_and_there_is_no_average(make_fake_gpus, monkeypatch):
    machine = make_fake_gpus([V100])
    machine.load(monkeypatch)
    machine[0].set_power(250)
    time.sleep(0.05)
    (reading,) = read(machine[0].uuid)
    assert reading.values["power_w"] == 250
    assert "average_power_w" not in reading.values
    assert "instantaneous" in reading.notes["power_w"]
    assert "average_power_w" in reading.notes
    assert reading.errors == {}


def test_power_is_missing_if_only_the_average_can_be_read(make_fake_gpus, monkeypatch):
    machine = make_fake_gpus([NO_FIELDS])
    machine.load(monkeypatch)
    machine[0].set_power(600)
    (reading,) = read(machine[0].uuid)
    assert "power_w" not in reading.values
    assert reading.notes == {"power_w": "this GPU or its driver does not report it"}
    assert 70 <= reading.values["average_power_w"] < 600


def test_a_missing_counter_is_noted(gpus):
    gpus[0].fail(CallClass.ENERGY, Nvml.NOT_SUPPORTED)
    (reading,) = read(gpus[0].uuid)
    assert "energy_j" not in reading.values
    assert reading.notes == {"energy_j": "this GPU or its driver does not report it"}
    assert reading.values["power_w"] == 70.0


def test_a_reading_of_0_w_is_kept(gpus):
    gpus[0].set_power_reading(0)
    (reading,) = read(gpus[0].uuid)
    assert reading.values["power_w"] == 0.0


def test_columns_fail_one_by_one_and_come_back(gpus):
    gpu = gpus[0]
    with nvml.build([gpu.uuid]) as source:
        gpu.fail(CallClass.POWER, Nvml.TIMEOUT)
        gpu.fail(CallClass.CLOCK_READ, Nvml.UNKNOWN)
        reading = source.read(gpu.uuid)
        assert reading.errors == {
            "power_w": "the driver says timeout",
            "average_power_w": "the driver says timeout",
            "sm_clock_mhz": "the driver says unknown error",
            "memory_clock_mhz": "the driver says unknown error",
        }
        assert {"energy_j", "temperature_c", "power_limit_w"} <= reading.values.keys()
        assert "power_w" not in reading.values
        gpu.mend(CallClass.POWER)
        gpu.mend(CallClass.CLOCK_READ)
        again = source.read(gpu.uuid)
        assert again.values["power_w"] == 70.0
        assert "sm_clock_mhz" not in again.errors


def test_a_lost_gpu_does_not_affect_others_and_is_read_again_when_it_is_back(gpus):
    lost, other = gpus[0], gpus[1]
    with nvml.build([lost.uuid, other.uuid]) as source:
        source.read(lost.uuid)
        source.read(other.uuid)
        lost.fail(CallClass.DEVICE, Nvml.GPU_IS_LOST)
        for _ in range(2):
            with pytest.raises(GpuLost, match=f"GPU {lost.uuid}: the driver says gpu is lost"):
                source.read(lost.uuid)
            assert source.read(other.uuid).values["power_w"] == 70.0
        lost.mend(CallClass.DEVICE)
        lost.set_power(300)
        assert source.read(lost.uuid).values["power_w"] == 300.0


def test_the_library_is_opened_again_if_every_gpu_was_lost(gpus):
    gpu = gpus[0]
    with nvml.build([gpu.uuid]) as source:
        source.read(gpu.uuid)
        gpu.fail(CallClass.DEVICE, Nvml.UNKNOWN)
        with pytest.raises(CollectorError, match="unknown error"):
            source.read(gpu.uuid)
        gpus.fail_init(Nvml.DRIVER_NOT_LOADED)
        with pytest.raises(CollectorError, match="driver not loaded"):
            source.read(gpu.uuid)
        gpu.mend(CallClass.DEVICE)
        gpus.fail_init(None)
        assert source.read(gpu.uuid).values["power_w"] == 70.0


def test_a_reloaded_driver_is_read_again_even_if_others_have_the_library_open(gpus):
    """A lane's control has the library open too; it is closed only when all have closed it."""
    gpu = gpus[0]
    with GpusOpen() as control, nvml.build([gpu.uuid, gpus[1].uuid]) as source:
        before_j, _ = (source.read(device).values["energy_j"] for device in source.devices)
        time.sleep(0.2)
        gpus.fail_init(Nvml.DRIVER_NOT_LOADED)
        gpus.reload_driver()
        for _ in range(2):
            for device in source.devices:
                with pytest.raises(CollectorError, match=r"uninitialized|driver not loaded"):
                    source.read(device)
        gpus.fail_init(None)
        assert source.read(gpu.uuid).values["power_w"] == 70.0
        assert source.read(gpu.uuid).values["energy_j"] < before_j
        assert source.read(gpus[1].uuid).values["power_w"] == 70.0
        assert control.memory_used_bytes(gpu.uuid) > 0
    with pytest.raises(CollectorError, match="uninitialized"):
        control.memory_used_bytes(gpu.uuid)


def test_sampling_continues_after_a_driver_reload_with_events(gpus):
    with GpusOpen():
        sampler = Sampler(nvml.build([gpus[0].uuid]), 0.02)
        sampler.start()
        try:
            begun_s = time.monotonic()
            time.sleep(0.2)
            gpus.reload_driver()
            reloaded_s = time.monotonic()
            while (sampler.latest(gpus[0].uuid) or {"t_s": 0})["t_s"] < reloaded_s + 0.01:
                assert time.monotonic() < reloaded_s + 10
                time.sleep(0.02)
            series = sampler.take(begun_s, time.monotonic())
        finally:
            sampler.stop()
    table = series["sensor_events"]
    kinds = [kind for device, kind in zip(table["device"], table["kind"], strict=True) if device and kind != "note"]
    assert kinds == ["lost", "recovered"]
    assert (np.diff(series["power"]["energy_j"]) < 0).sum() == 1


def test_a_gpu_known_by_its_uuid_need_not_answer_when_the_source_is_made(gpus):
    gpus[0].fail(CallClass.DEVICE, Nvml.GPU_IS_LOST)
    with nvml.build([gpus[0].uuid]) as source:
        with pytest.raises(GpuLost):
            source.read(gpus[0].uuid)
        gpus[0].mend(CallClass.DEVICE)
        assert source.read(gpus[0].uuid).values["power_w"] == 70.0


def test_without_a_driver_there_is_no_source(gpus):
    gpus.fail_init(Nvml.DRIVER_NOT_LOADED)
    with pytest.raises(DriverMissing):
        nvml.build([gpus[0].uuid])


def test_processes_on_a_gpu(gpus):
    gpus[0].hold_memory(4242, GIB)
    with nvml.build([gpus[0].uuid, gpus[1].uuid]) as source:
        for device in source.devices:
            source.read(device)
        assert [source.processes(device) for device in source.devices] == [(4242,), ()]
        gpus[0].fail(CallClass.PROCESSES, Nvml.NO_PERMISSION)
        with pytest.raises(CollectorError, match="insufficient permissions"):
            source.processes(gpus[0].uuid)


def test_slow_columns_are_read_every_half_second_and_the_counter_once_a_sample(gpus):
    gpu = gpus[0]
    with nvml.build([gpu.uuid]) as source:
        source.read(gpu.uuid)
        calls = {kind: gpu.n_calls(kind) for kind in (CallClass.ENERGY, CallClass.TEMPERATURE, CallClass.UTILIZATION)}
        began_s = time.monotonic()
        readings = [source.read(gpu.uuid) for _ in range(50)]
        passed_s = time.monotonic() - began_s
    assert gpu.n_calls(CallClass.ENERGY) == calls[CallClass.ENERGY] + 50
    for kind in (CallClass.TEMPERATURE, CallClass.UTILIZATION):
        assert gpu.n_calls(kind) - calls[kind] <= passed_s / 0.5 + 1
    assert all("temperature_c" in reading.values for reading in readings)


def test_a_lost_gpu_in_the_samples(gpus):
    sampler = Sampler(nvml.build([gpu.uuid for gpu in gpus]), 0.01)
    sampler.start()
    try:
        gpus[2].fail(CallClass.DEVICE, Nvml.GPU_IS_LOST)
        lost_s = time.monotonic()
        time.sleep(0.3)
        series = sampler.take(lost_s, time.monotonic())
    finally:
        sampler.stop()
    table = series["sensor_events"]
    assert (gpus[2].uuid, "lost") in set(zip(table["device"], table["kind"], strict=True))
    n_rows = {gpu.uuid: int((series["power"]["device"] == gpu.uuid).sum()) for gpu in gpus}
    assert n_rows.pop(gpus[2].uuid) <= 3
    assert min(n_rows.values()) >= 5
