"""`doctor sensor`: the power sensor of a GPU, whose properties the fake driver defines."""

import json
import re
from dataclasses import replace

import pytest

from orchestrator.cli import main
from tests.fake_nvml.fake_gpus import GIB, H100, SENSED_H200, Nvml
from tests.fake_nvml.layout import CallClass
from tests.orchestrator.sensor.fake_load import BUSY_W, REST_W

FAKE_LOAD = "load=tests.orchestrator.sensor.fake_load"


def sensor(capsys, *arguments):
    """Run the command: exit code, its lines, the last line and the errors."""
    code = main(["doctor", "sensor", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, json.loads(printed.out.splitlines()[-1]), printed.err


@pytest.mark.slow
def test_the_sensor_of_the_fake_h200_is_recovered(make_fake_gpus, monkeypatch, tmp_path, capsys):
    machine = make_fake_gpus([SENSED_H200])
    machine.load(monkeypatch)
    out = tmp_path / "out"
    code, text, last, _ = sensor(capsys, f"out={out}", FAKE_LOAD, "duration_s=12")
    assert (code, last["load_missing"]) == (0, None)
    power, energy, average = (last["readings"][name] for name in ("power_w", "energy_j", "average_power_w"))
    assert power["update_period_s"] == pytest.approx(0.1, abs=0.02)
    assert energy["update_period_s"] == pytest.approx(0.1, abs=0.02)
    assert power["window_s"] == pytest.approx(0.025, abs=0.006)
    assert average["window_s"] == pytest.approx(1.0, abs=0.06)
    assert {name: round(level["integral_w"]) for name, level in last["levels"].items()} == {
        "idle": SENSED_H200.idle_power_w,
        "idle_polled": SENSED_H200.idle_power_w,
        "context": REST_W,
        "load": BUSY_W,
    }
    assert last["levels"]["load"]["counter_w"] == pytest.approx(BUSY_W, rel=0.01)
    assert [wave["period_s"] for wave in last["waves"]] == [0.021, 0.053, 0.103, 0.207, 0.507, 2.03]
    assert all(wave["counter_error_ratio"] == pytest.approx(0, abs=0.03) for wave in last["waves"])
    assert last["sampler"]["mean_s"] == pytest.approx(0.05, rel=0.2)
    assert "| power_w " in text
    assert not machine.set_calls
    assert (out / "sensor.png").stat().st_size > 10_000
    assert json.loads((out / "sensor.json").read_text())["summary"]["readings"]["power_w"] == power
    machine.fail_init(Nvml.DRIVER_NOT_LOADED)
    assert sensor(capsys, f"again={out}")[2] == last


@pytest.mark.slow
def test_without_torch_what_needs_no_load_is_measured(make_fake_gpus, monkeypatch, tmp_path, capsys):
    (tmp_path / "no_torch.py").write_text('print(\'{"missing": "torch cannot be imported"}\')')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    make_fake_gpus([SENSED_H200]).load(monkeypatch)
    code, text, last, _ = sensor(capsys, "load=no_torch", "duration_s=10")
    assert (code, last["load_missing"]) == (0, "torch cannot be imported")
    (line,) = (line for line in text.splitlines() if line.startswith("note:"))
    assert line == "note: only what needs no load is measured: torch cannot be imported"
    assert set(last["levels"]) == {"idle", "idle_polled"}
    assert last["levels"]["idle"]["integral_w"] == pytest.approx(77)
    assert last["sampler"]["mean_s"] == pytest.approx(0.05, rel=0.2)
    assert re.fullmatch(r"runs/sensor-\d{8}-\d{6}", last["folder"])


def gone(machine):
    machine.fail_init(Nvml.DRIVER_NOT_LOADED)


def lost(machine):
    for gpu in machine:
        gpu.fail(CallClass.DEVICE, Nvml.GPU_IS_LOST)


def forbidden(machine):
    for gpu in machine:
        gpu.fail(CallClass.DEVICE, Nvml.NO_PERMISSION)


def blind(machine):
    for calls in (CallClass.POWER, CallClass.ENERGY):
        machine[0].fail(calls, Nvml.NOT_SUPPORTED)


def in_use(machine):
    machine[0].hold_memory(4242, GIB)


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (gone, "NVML cannot be opened: Driver Not Loaded"),
        (lost, "the driver shows no GPU that this process may use"),
        (forbidden, "the driver shows no GPU that this process may use"),
        (in_use, "is in use by pid 4242"),
        (blind, "has no power or energy reading"),
    ],
)
def test_a_machine_that_cannot_be_measured_is_one_line(fake_gpus, monkeypatch, tmp_path, capsys, trouble, message):
    fake_gpus.load(monkeypatch)
    trouble(fake_gpus)
    code, text, last, errors = sensor(capsys, f"out={tmp_path / 'out'}")
    assert (code, last["command"], last["exit_code"]) == (3, "doctor", 3)
    assert message in last["error"]
    assert len(errors.splitlines()) == 1
    assert [line for line in text.splitlines() if not line.startswith("GPU 0: ")] == [json.dumps(last)]
    assert not (tmp_path / "out").exists()


def test_one_gpu_without_permission_and_a_gpu_with_mig_are_refused(make_fake_gpus, monkeypatch, capsys):
    machine = make_fake_gpus([H100, replace(H100, mig_memory_bytes=(10 * GIB,))])
    machine.load(monkeypatch)
    machine[0].fail(CallClass.DEVICE, Nvml.NO_PERMISSION)
    assert "insufficient permissions" in sensor(capsys, "gpu=0")[2]["error"]
    assert f"GPU 1 ({machine[1].uuid}) is divided by MIG" in sensor(capsys)[2]["error"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("gpu=9", "matches 0 of this machine's GPUs"),
        ("duration_s=soon", "allowed are 10 to 600 seconds"),
        ("again=nowhere", "nowhere has no sensor.json"),
        ("now", "takes no 'now'"),
    ],
)
def test_wrong_arguments_are_refused(fake_gpus, monkeypatch, tmp_path, capsys, argument, message):
    monkeypatch.chdir(tmp_path)
    fake_gpus.load(monkeypatch)
    code, _, last, _ = sensor(capsys, argument)
    assert code == 2
    assert message in last["error"]
