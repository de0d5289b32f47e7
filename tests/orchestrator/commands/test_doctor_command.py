"""`doctor`: what a machine can measure and set."""

import json
import os
import re

import pytest

from collectors.control import Knobs, acquire
from orchestrator.cli import main
from tests.fake_nvml.fake_gpus import GIB, SENSED_H100, Nvml
from tests.fake_nvml.layout import CallClass


def _doctor(capsys, *arguments):
    code = main(["doctor", *arguments])
    out = capsys.readouterr().out
    return code, out, json.loads(out.splitlines()[-1])


def test_it_tells_what_can_be_measured_and_set(fake_gpus, tmp_path, monkeypatch, capsys):
    fake_gpus.load(monkeypatch)
    fake_gpus[1].fail(CallClass.POWER, Nvml.NOT_SUPPORTED)
    fake_gpus[2].fail(CallClass.DEVICE, Nvml.GPU_IS_LOST)
    fake_gpus[0].hold_memory(4242, GIB)
    code, out, fields = _doctor(capsys, f"state_dir={tmp_path}", "need=gpu", "setter=auto")
    first, second, _ = fields["gpus"]
    assert (code, fields["driver"], fields["gpus_lost"], fields["missing"]) == (0, "580.95.05", 1, [])
    assert (first["uuid"], first["power_limit_w"], first["power_limit_range_w"]) == (fake_gpus[0].uuid, 700, [200, 700])
    assert (first["sm_clock_range_mhz"], first["setter"], first["processes"]) == ([210, 1980], "nvml", [4242])
    assert [each["instant_power"] for each in (first, second)] == [True, False]
    assert first["energy_counter"]
    assert fake_gpus[0].uuid in out
    assert [gpu.power_limit_w for gpu in fake_gpus] == [700] * 4


def test_no_setter_is_called_unless_one_asks_whether_it_may(fake_gpus, tmp_path, monkeypatch, capsys):
    fake_gpus.load(monkeypatch)
    _, out, fields = _doctor(capsys, f"state_dir={tmp_path}", "need=gpu,gpu_power", "poll_s=0.1")
    assert fake_gpus.set_calls == ()
    assert (fields["gpus"][0]["setter"], fields["gpus"][0]["power_limit_w"]) == (None, 700)
    assert "not tried" in out
    assert "setter=auto" in out
    code, _, fields = _doctor(capsys, f"state_dir={tmp_path}", "need=power_limit")
    assert (code, fields["gpus"][0]["setter"]) == (0, "nvml")
    assert len(fake_gpus.set_calls) == 4


def test_what_is_needed_and_missing_is_an_exit_code(fake_gpus, tmp_path, monkeypatch, capsys):
    fake_gpus.load(monkeypatch)
    fake_gpus.set_privileged(False)
    code, out, fields = _doctor(capsys, f"state_dir={tmp_path}", "need=gpu_power,power_limit", "setter=nvml")
    assert (code, fields["missing"]) == (3, ["power_limit"])
    assert "CAP_SYS_ADMIN" in re.sub(r"\s+", " ", out)
    assert main(["doctor", "need=luck"]) == 2


def test_a_gpu_in_use_is_told_and_not_touched(fake_gpus, tmp_path, monkeypatch, capsys):
    fake_gpus.load(monkeypatch)
    with acquire([0], state_dir=tmp_path) as control:
        control.apply(Knobs(power_limit_w=400))
        n_calls = len([call for call in fake_gpus.set_calls if call.gpu == 0])
        _, _, fields = _doctor(capsys, f"state_dir={tmp_path}")
        assert len([call for call in fake_gpus.set_calls if call.gpu == 0]) == n_calls
    assert f"controlled by pid {os.getpid()}" in fields["gpus"][0]["setter_refused"]
    assert re.search(r"400 W set by pid \d+ .*700 W before; in use", fields["journals"][0]["told"])


def test_a_limit_that_no_journal_explains_is_told(fake_gpus, tmp_path, monkeypatch, capsys):
    fake_gpus.load(monkeypatch)
    fake_gpus[1].set_power_limit(450)
    with acquire([0], state_dir=tmp_path) as control:
        control.apply(Knobs(power_limit_w=400))
        _, out, fields = _doctor(capsys, f"state_dir={tmp_path}")
    assert fields["limits_unexplained"] == [fake_gpus[1].uuid]
    assert [each["default_power_limit_w"] for each in fields["gpus"]] == [700] * 4
    (line,) = (line for line in out.splitlines() if "no journal explains it" in line)
    assert line.startswith(f"GPU 1 ({fake_gpus[1].uuid}) has a power limit of 450 W, its default is 700 W")


def test_a_machine_without_a_driver(fake_gpus, tmp_path, monkeypatch, capsys):
    fake_gpus.load(monkeypatch)
    fake_gpus.fail_init(Nvml.DRIVER_NOT_LOADED)
    code, out, fields = _doctor(capsys, f"state_dir={tmp_path}", "need=gpu")
    assert (code, fields["driver"], fields["gpus"], fields["missing"]) == (3, None, [], ["gpu"])
    assert "GPUs: none" in out


def test_how_often_a_sensor_is_renewed_is_told_where_one_asks(make_fake_gpus, tmp_path, monkeypatch, capsys):
    machine = make_fake_gpus([SENSED_H100, SENSED_H100])
    machine.load(monkeypatch)
    machine[0].set_power(300, amplitude_w=150, period_s=0.73)
    code, out, fields = _doctor(capsys, f"state_dir={tmp_path}", "poll_s=1.5")
    assert code == 0
    assert fields["update_period_s"][machine[0].uuid] == pytest.approx(0.1, rel=0.3)
    assert fields["update_period_s"][machine[1].uuid] is None
    assert f"power sensor of {machine[0].uuid}: updated every" in out
    assert f"power sensor of {machine[1].uuid}: update period unknown: power hardly changed" in out


@pytest.mark.parametrize("poll_s", ["soon", "0", "-1", "nan", "3600"])
def test_a_time_to_poll_for_is_a_few_seconds(poll_s, capsys):
    assert main(["doctor", f"poll_s={poll_s}"]) == 2
    assert f"poll_s={poll_s}: allowed are seconds, more than 0 and at most 60" in capsys.readouterr().out
