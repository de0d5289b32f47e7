"""Sensors and knobs of fake GPUs in this process."""

import os
import time
from dataclasses import replace

import pytest
from driven_cells import a_driven_cell

from collectors.control import acquire, journal
from collectors.control.lock import Owner
from collectors.errors import CollectorError
from collectors.processes import boot_id
from collectors.sampler import Sampler
from orchestrator.errors import EnvironmentFailure, InfrastructureError
from orchestrator.monitor.instruments import Instruments, LanePower
from tests.fake_nvml.fake_gpus import Nvml
from tests.fake_nvml.gpu_models import GIB, SENSED_H100
from tests.fake_nvml.layout import CallClass


def _sampler(sources, period_s):
    return Sampler([source.build() for source in sources], period_s)


@pytest.fixture
def instruments(machine):
    sensors = Instruments([machine[0].uuid], open_sampler=_sampler, own_pids=lambda: {1})
    yield sensors
    sensors.close()


def test_limit_and_clock_are_those_of_each_cell_and_are_restored_at_the_end(instruments, machine):
    machine[0].set_power_limit(650)
    capped = a_driven_cell(power_limit_w=300, sm_clock_mhz=1200)
    instruments.open(capped)
    assert machine[0].power_limit_w == 650
    (control,) = instruments.prepare(capped).control.values()
    assert (machine[0].power_limit_w, machine[0].locked_sm_clock_mhz) == (300, (1200, 1200))
    assert control["requested"] == {"power_limit_w": 300, "sm_clock_mhz": 1200}
    assert (control["enforced_power_limit_w"], control["sm_clock_mhz"], control["setter"]) == (300, 1200, "nvml")
    (control,) = instruments.prepare(a_driven_cell(power_limit_w=400)).control.values()
    assert (machine[0].power_limit_w, machine[0].locked_sm_clock_mhz) == (400, None)
    (control,) = instruments.prepare(a_driven_cell()).control.values()
    assert (control["requested"]["power_limit_w"], control["enforced_power_limit_w"]) == (None, 650)
    instruments.prepare(capped)
    instruments.close()
    assert (machine[0].power_limit_w, machine[0].locked_sm_clock_mhz) == (650, None)
    assert machine[1].power_limit_w == 700
    with pytest.raises(InfrastructureError, match="given back"):
        instruments.prepare(capped)


def test_a_cell_that_sets_nothing_needs_no_permission_and_another_fails_at_once(instruments, machine):
    machine.set_privileged(False)
    instruments.open(a_driven_cell())
    assert instruments.prepare(a_driven_cell()).reasons == ()
    instruments.close()
    with acquire([machine[0].uuid]):
        again = Instruments([machine[0].uuid], open_sampler=_sampler, own_pids=set)
        with pytest.raises(EnvironmentFailure, match=f"GPU {machine[0].uuid} is controlled by pid "):
            again.open(a_driven_cell(power_limit_w=300))
        again.open(a_driven_cell())
        prepared = again.prepare(a_driven_cell())
        (reason,) = prepared.reasons
        assert prepared.control is None
        assert (reason.code, reason.transient) == ("gpus_set_by_others", True)
        assert f"is controlled by pid {os.getpid()}" in reason.detail
    assert again.prepare(a_driven_cell()).reasons == ()  # it is free again
    again.close()


def test_settings_left_by_a_killed_sweep_make_a_cell_that_sets_nothing_invalid_but_do_not_stop_it(
    instruments, machine, tmp_path
):
    uuid, owner = machine[0].uuid, Owner.this("controller")
    machine[0].set_power_limit(300)
    left = journal.Entry(uuid, boot_id(), 1, 1, owner.host, "nvml", before_mw=700_000, ours_mw=(300_000,))
    (tmp_path / "state").mkdir()
    journal.write(tmp_path / "state", left)
    machine.set_privileged(False)
    instruments.open(a_driven_cell())
    (reason,) = instruments.prepare(a_driven_cell()).reasons
    assert reason.code == "gpus_set_by_others"
    assert f"GPU {uuid} was not restored" in reason.detail
    with pytest.raises(InfrastructureError, match="was not restored"):
        instruments.prepare(a_driven_cell(power_limit_w=400))
    machine.set_privileged(True)
    prepared = instruments.prepare(a_driven_cell())
    assert (prepared.reasons, machine[0].power_limit_w) == ((), 700)


def test_only_settings_of_others_are_a_reason(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(journal, "foreign_user", lambda folder, uuid: 4711)
    sensors = Instruments([machine[0].uuid], open_sampler=_sampler, own_pids=set)
    sensors.open(a_driven_cell())
    (reason,) = sensors.prepare(a_driven_cell()).reasons
    assert "of another user (uid 4711)" in reason.detail
    monkeypatch.setenv("JOULEGRID_STATE_DIR", "/proc/no-folder")
    assert sensors.prepare(a_driven_cell()).reasons == ()
    sensors.close()


def test_samples_are_those_of_the_cells_gpus_from_before_it_to_after_it(instruments, machine):
    instruments.open(a_driven_cell())
    machine[0].set_power(300)
    time.sleep(0.5)
    origin_s = time.monotonic()
    time.sleep(0.5)
    end_s = time.monotonic()
    series = instruments.series(origin_s, end_s)
    power = series["power"].to_pydict()
    assert set(power["device"]) == {machine[0].uuid}
    assert power["t_s"][0] < -0.2
    assert power["t_s"][-1] > end_s - origin_s + 0.2
    assert power["power_w"][-1] == pytest.approx(300)
    assert (power["power_limit_w"][-1], power["temperature_c"][-1]) == (700, 35)
    assert instruments.latest()[machine[0].uuid]["power_w"] == pytest.approx(300)
    facts = instruments.prepare(a_driven_cell()).provenance["gpus"]
    assert (facts["uuid"], facts["name"]) == ([machine[0].uuid], "NVIDIA H100 80GB HBM3")
    assert (facts["min_power_limit_w"], facts["default_power_limit_w"]) == (200, 700)
    assert facts["power_sensor"] == "NVML_FI_DEV_POWER_INSTANT"


def test_a_gpu_that_is_lost_meanwhile_is_an_event(instruments, machine):
    instruments.open(a_driven_cell())
    origin_s = time.monotonic()
    time.sleep(0.3)
    for calls in CallClass:
        machine[0].fail(calls, Nvml.GPU_IS_LOST)
    time.sleep(0.3)
    events = instruments.series(origin_s, time.monotonic())["sensor_events"].to_pylist()
    assert (machine[0].uuid, "lost") in {(each["device"], each["kind"]) for each in events}
    for calls in CallClass:
        machine[0].mend(calls)


def test_a_sampler_that_has_ended_is_an_event_and_no_error_and_the_next_cell_has_another(machine):
    class Ended:
        running = False

        def start(self):
            pass

        def take(self, start_s, end_s):
            raise CollectorError("the sampler (pid 7) has ended: killed by signal 9")

        def latest(self, device):
            raise CollectorError("the sampler (pid 7) has ended: killed by signal 9")

        def stop(self):
            pass

    opened = []
    sensors = Instruments([machine[0].uuid], open_sampler=lambda *_: opened.append(1) or Ended(), own_pids=set)
    sensors.open(a_driven_cell())
    (event,) = sensors.series(0.0, 1.0)["sensor_events"].to_pylist()
    assert (event["kind"], event["detail"]) == ("lost", "the sampler (pid 7) has ended: killed by signal 9")
    assert sensors.latest() == {}
    sensors.prepare(a_driven_cell())
    assert len(opened) == 2
    sensors.close()


def test_a_source_that_cannot_be_opened_is_an_error(machine, tmp_path):
    sensors = Instruments([machine[0].uuid], open_sampler=_sampler, own_pids=set)
    with pytest.raises(InfrastructureError, match="nothing can be sampled: "):
        sensors.open(a_driven_cell(collectors={"power": "replay", "path": str(tmp_path / "none.csv")}))
    sensors.close()


def test_the_energy_of_a_start_is_measured(instruments, machine):
    instruments.open(a_driven_cell())
    power = LanePower(instruments)
    assert power.bare_idle_w(0.5) == pytest.approx(70, rel=0.01)
    before_j = machine[0].energy_j()
    machine[0].set_power(500)
    time.sleep(1.5)
    machine[0].set_power(100)
    drawn_j = machine[0].energy_j() - before_j
    time.sleep(0.5)
    start_j, loaded_w = power.started(0.5)
    assert start_j == pytest.approx(drawn_j + 50, rel=0.2)  # the sensor's counter moves ten times a second
    assert loaded_w == pytest.approx(100, rel=0.02)


def test_without_samples_the_energy_of_a_start_is_unknown(instruments):
    instruments.open(a_driven_cell(collectors={"power": "none"}))
    power = LanePower(instruments)
    assert power.bare_idle_w(60) is None
    assert power.started(60) == (None, None)


def test_each_cell_has_its_own_sampling_options(instruments, machine):
    instruments.open(a_driven_cell())
    instruments.prepare(a_driven_cell(collectors={"power": "none"}))
    assert instruments.series(time.monotonic(), time.monotonic()) == {}
    instruments.prepare(a_driven_cell(collectors={"period_s": 0.2}))
    origin_s = time.monotonic()
    time.sleep(1)
    t_s = instruments.series(origin_s, time.monotonic())["power"].column("t_s").to_pylist()
    assert 3 <= len(t_s) <= 10


def test_a_mig_instance_has_the_sensors_of_its_gpu_and_no_limit_of_its_own(make_fake_gpus, monkeypatch, tmp_path):
    machine = make_fake_gpus([replace(SENSED_H100, mig_memory_bytes=(40 * GIB, 40 * GIB))])
    machine.load(monkeypatch)
    monkeypatch.setenv("JOULEGRID_STATE_DIR", str(tmp_path / "state"))
    sensors = Instruments([machine[0].mig_uuids[0]], open_sampler=_sampler, own_pids=set)
    with pytest.raises(EnvironmentFailure, match="divided by MIG"):
        sensors.open(a_driven_cell(power_limit_w=300))
    sensors.open(a_driven_cell())
    assert sensors.prepare(a_driven_cell()).control is None
    series = sensors.series(time.monotonic(), time.monotonic() + 0.2)
    assert set(series["power"].column("device").to_pylist()) == {machine[0].uuid}
    assert "the whole GPU's" in " ".join(series["sensor_events"].column("detail").to_pylist())
    assert sensors.gpus == (machine[0].uuid,)
    assert _shared(series) == [machine[0].uuid]
    sensors.close()


@pytest.mark.parametrize(
    ("parts_gib", "slots", "shared"), [((80,), [0], False), ((40,), [0], True), ((40, 40), [0, 1], False)]
)
def test_a_gpu_is_shared_unless_the_cell_has_all_of_it(make_fake_gpus, monkeypatch, tmp_path, parts_gib, slots, shared):
    machine = make_fake_gpus([replace(SENSED_H100, mig_memory_bytes=tuple(each * GIB for each in parts_gib))])
    machine.load(monkeypatch)
    monkeypatch.setenv("JOULEGRID_STATE_DIR", str(tmp_path / "state"))
    sensors = Instruments([machine[0].mig_uuids[slot] for slot in slots], open_sampler=_sampler, own_pids=set)
    sensors.open(a_driven_cell())
    assert sensors.prepare(a_driven_cell()).provenance["gpus"]["mig_shared"] is shared
    series = sensors.series(time.monotonic(), time.monotonic() + 0.1)
    assert _shared(series) == [machine[0].uuid] * shared
    sensors.close()


def _shared(series):
    return [each["device"] for each in series["sensor_events"].to_pylist() if each["kind"] == "shared"]


def test_a_gpu_that_cannot_be_restored_is_an_error_that_names_the_command(machine):
    sensors = Instruments([machine[0].uuid], open_sampler=_sampler, own_pids=set)
    sensors.open(a_driven_cell())
    sensors.prepare(a_driven_cell(power_limit_w=300))
    machine[0].fail(CallClass.LIMIT_SET, Nvml.GPU_IS_LOST)
    with pytest.raises(InfrastructureError, match=r"was not restored: .*`python -m orchestrator restore`"):
        sensors.close()
    machine[0].mend(CallClass.LIMIT_SET)
    with acquire([machine[0].uuid]):
        assert machine[0].power_limit_w == 700


def test_a_source_of_the_user_is_sampled_under_its_device_names():
    sensors = Instruments((), open_sampler=_sampler, own_pids=set)
    sensors.open(a_driven_cell(collectors={"power": "sample_plugins.meter"}))
    time.sleep(0.2)
    power = sensors.series(time.monotonic() - 0.2, time.monotonic())["power"].to_pydict()
    assert (set(power["device"]), set(power["power_w"])) == ({"strip-1"}, {123.0})
    sensors.close()
