"""The setters (NVML in this process, `sudo nvidia-smi`, zeusd) and which of them `auto` chooses."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pynvml
import pytest

from collectors.control import Knobs, acquire, check, journal
from collectors.control.setter import SETTERS, choose
from collectors.control.setters.sudo_nvidia_smi import runs_on
from collectors.control.setters.zeusd import SOCKET_VARIABLE, TOKEN_VARIABLE
from collectors.errors import ControlFailed, ControlRefused, GpuLost, NotPermitted
from collectors.nvml_devices import Nvml as Driver
from tests.collectors.control.guard_process import controller, heard, wait_until
from tests.collectors.control.zeusd_double import Zeusd, ZeusdHandler
from tests.fake_nvml.fake_gpus import FakeGpus, Nvml
from tests.fake_nvml.layout import CallClass

SUDO = """#!/bin/sh
[ "$1" = -n ] && shift
[ -e {refuses} ] && {{ echo "sudo: a password is required" >&2; exit 1; }}
exec env AS_ROOT=1 "$@"
"""
NVIDIA_SMI = """#!{python}
import os, sys, time
sys.path.insert(0, "{root}")
import pynvml
from tests.fake_nvml.layout import State
import ctypes, mmap
file = open(os.environ["FAKE_NVML_STATE"], "r+b")
state = State.from_buffer(mmap.mmap(file.fileno(), 0))
_, option, uuid, what, *value = sys.argv
assert option == "-i"
time.sleep(float(os.environ.get("SMI_DELAY_S", "0")))
pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByUUID(uuid)
was = state.privileged
state.privileged = was or "AS_ROOT" in os.environ
try:
    if what == "-pl":
        pynvml.nvmlDeviceSetPowerManagementLimit(gpu, round(float(value[0]) * 1000))
    elif what == "-lgc":
        pynvml.nvmlDeviceSetGpuLockedClocks(gpu, *map(int, value[0].split(",")))
    else:
        assert what == "-rgc"
        pynvml.nvmlDeviceResetGpuLockedClocks(gpu)
except pynvml.NVMLError as error:
    print(error)
    sys.exit(error.value)
finally:
    state.privileged = was
"""
CAPPED = (400, (900, 900))
FREE = (700, None)


@pytest.fixture
def sudo(gpus: FakeGpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let only `sudo nvidia-smi` set GPUs; return the path of a file that makes sudo refuse while it exists."""
    gpus.set_privileged(False)
    refuses = tmp_path / "refuses"
    root = Path(__file__).parents[3]
    scripts = {"sudo": SUDO.format(refuses=refuses), "nvidia-smi": NVIDIA_SMI.format(python=sys.executable, root=root)}
    (tmp_path / "bin").mkdir()
    for name, text in scripts.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return refuses


def _state(gpus: FakeGpus, index: int = 0) -> tuple[float, tuple[int, int] | None]:
    return gpus[index].power_limit_w, gpus[index].locked_sm_clock_mhz


def test_sudo_sets_and_restores(gpus, sudo):
    with acquire([0], setter="sudo_nvidia_smi") as control:
        assert control.apply(Knobs(power_limit_w=400, sm_clock_mhz=900)).setter == "sudo_nvidia_smi"
        assert _state(gpus) == CAPPED
    assert _state(gpus) == FREE
    assert os.getpid() not in {call.pid for call in gpus.set_calls}


def test_auto_takes_the_first_that_is_permitted(gpus, sudo):
    with acquire([0]) as control:
        assert control.apply(Knobs(power_limit_w=400)).setter == "sudo_nvidia_smi"
    gpus.set_privileged(True)
    with acquire([0]) as control:
        assert control.apply(Knobs(power_limit_w=400)).setter == "nvml"


def test_without_a_permitted_setter_the_error_has_all_reasons(gpus, sudo, monkeypatch, tmp_path):
    sudo.touch()
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "none.sock"))
    with pytest.raises(NotPermitted) as refused:
        check([0], Knobs(power_limit_w=400))
    for each in ("insufficient permissions", "no zeusd answers", "a password is required"):
        assert each in str(refused.value)
    assert all(name in str(refused.value) for name in SETTERS)


def test_auto_tries_the_next_setter_unless_the_gpu_itself_refuses(gpus, sudo, monkeypatch):
    gpus.set_privileged(True)
    gpus[0].fail(CallClass.LIMIT_SET, Nvml.UNKNOWN, times=1)
    with acquire([0]) as control:
        assert control.apply(Knobs(power_limit_w=400)).setter == "sudo_nvidia_smi"
    gpus[0].fail(CallClass.LIMIT_SET, Nvml.NOT_SUPPORTED)
    with Driver():
        assert choose("auto", gpus[0].uuid).name == "nvml"
        gpus[0].fail(CallClass.LIMIT_SET, Nvml.GPU_IS_LOST)
        n_calls = len(gpus.set_calls)
        with pytest.raises(GpuLost):
            choose("auto", gpus[0].uuid)
    assert len(gpus.set_calls) == n_calls + 1


def test_an_error_of_the_driver_is_not_reported_as_missing_permission(gpus, sudo):
    sudo.touch()
    gpus[0].fail(CallClass.LIMIT_SET, Nvml.UNKNOWN)
    with pytest.raises(ControlRefused, match="unknown error") as refused:
        check([0], Knobs(power_limit_w=400))
    assert "hardware.power_limit_w=null leaves it out" in str(refused.value)
    assert "sudoers" not in str(refused.value)


@pytest.mark.slow
def test_a_setting_that_sudo_makes_after_its_caller_was_killed_is_undone(gpus, sudo, state_dir):
    """nvidia-smi outlives its caller and sets the limit after the guard has restored the GPU."""
    uuid = gpus[0].uuid
    program = """
held = acquire([0], setter="sudo_nvidia_smi")
held.check(Knobs(power_limit_w=400))
os.environ["SMI_DELAY_S"] = "1"
say()
held.apply(Knobs(power_limit_w=400))
"""
    with controller(program, gpus.env) as child:
        heard(child)
        wait_until(lambda: journal.uuids(state_dir), 30)
        wait_until(lambda: any(runs_on(process, uuid) for process in psutil.process_iter()))
        child.kill()
        wait_until(lambda: any(call.values[0] == 400_000 for call in gpus.set_calls), 30)
        wait_until(lambda: _state(gpus) == FREE and not journal.uuids(state_dir))


def test_check_changes_nothing(gpus, state_dir):
    check([0, 1], Knobs())
    assert not state_dir.exists()
    check([0, 1], Knobs(power_limit_w=400, sm_clock_mhz=900))
    assert (_state(gpus), journal.uuids(state_dir)) == (FREE, ())
    with pytest.raises(ControlRefused, match="200 to 700 W"):
        check([0], Knobs(power_limit_w=100))
    with acquire([0]), pytest.raises(ControlRefused, match=f"controlled by pid {os.getpid()}"):
        check([0, 1], Knobs(power_limit_w=400))
    with pytest.raises(ControlRefused, match="'magic' is not known"):
        check([0], Knobs(power_limit_w=400), setter="magic")
    with pytest.raises(ControlRefused, match=r"GPU-none.*hardware.power_limit_w=null"):
        check(["GPU-none"], Knobs(power_limit_w=400))


@pytest.fixture
def zeusd(gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zeusd]:
    gpus.set_privileged(False)
    pynvml.nvmlInit()
    with tempfile.TemporaryDirectory() as folder, Zeusd(f"{folder}/zeusd.sock", gpus) as server:
        monkeypatch.setenv(SOCKET_VARIABLE, f"{folder}/zeusd.sock")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    pynvml.nvmlShutdown()


def test_zeusd_sets_and_restores(gpus, zeusd):
    with acquire([1]) as control:
        assert control.apply(Knobs(power_limit_w=400, sm_clock_mhz=900)).setter == "zeusd"
        assert _state(gpus, 1) == CAPPED
    assert _state(gpus, 1) == FREE
    assert zeusd.requests[1:4] == [
        "/gpu/set_power_limit?gpu_ids=1&power_limit_mw=400000&block=true",
        "/gpu/set_gpu_locked_clocks?gpu_ids=1&min_clock_mhz=900&max_clock_mhz=900&block=true",
        "/gpu/set_power_limit?gpu_ids=1&power_limit_mw=700000&block=true",
    ]
    assert {call.gpu for call in gpus.set_calls} == {1}


def test_the_guard_restores_through_zeusd(gpus, zeusd):
    program = "held = acquire([1]); held.apply(Knobs(power_limit_w=400, sm_clock_mhz=900)); say(); time.sleep(60)"
    with controller(program, gpus.env) as child:
        heard(child)
        assert _state(gpus, 1) == CAPPED
        child.kill()
        wait_until(lambda: _state(gpus, 1) == FREE)


def test_zeusd_with_other_indices_sets_the_same_gpu(gpus, zeusd):
    zeusd.order = [2, 3, 1]
    with acquire([1], setter="zeusd") as control:
        control.apply(Knobs(power_limit_w=400))
        assert _state(gpus, 1)[0] == 400
        assert "gpu_ids=2" in zeusd.requests[-1]
    with pytest.raises(NotPermitted, match="does not know"), acquire([0], setter="zeusd") as control:
        control.check(Knobs(power_limit_w=400))
    zeusd.addresses = False
    with pytest.raises(NotPermitted, match="3 GPUs and this process sees 4"):
        check([0], Knobs(power_limit_w=400), setter="zeusd")
    assert {call.gpu for call in gpus.set_calls} == {1}


def test_zeusd_with_a_token(gpus, zeusd, monkeypatch):
    zeusd.token = "secret"
    with pytest.raises(NotPermitted, match=r"401 .*token"):
        check([0], Knobs(power_limit_w=400), setter="zeusd")
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    check([0], Knobs(power_limit_w=400), setter="zeusd")


def test_the_error_quotes_the_answer_of_zeusd(gpus, zeusd, monkeypatch):
    monkeypatch.setattr("collectors.control.control.check_range", lambda *_: None)
    monkeypatch.setattr("collectors.control.setters.zeusd._ACTS_WITHIN_S", 0.01)
    with acquire([0], setter="zeusd") as control, pytest.raises(ControlFailed, match=r"400 .*Invalid Argument"):
        control.apply(Knobs(power_limit_w=100))
    assert _state(gpus) == FREE


@pytest.mark.parametrize("answer", ["welcome", [1, 2], {"gpus": [{"name": "fake"}]}])
def test_an_unexpected_answer_of_zeusd_leads_to_the_next_setter(gpus, zeusd, sudo, monkeypatch, answer):
    monkeypatch.setattr(ZeusdHandler, "do_GET", lambda self: self._answer(200, answer))
    with acquire([0]) as control:
        assert control.apply(Knobs(power_limit_w=400)).setter == "sudo_nvidia_smi"


@pytest.mark.slow
def test_no_gpu_waits_for_a_pending_setting_of_another(gpus, sudo, state_dir):
    """After a kill while the last GPU is set, the guard restores all others before it waits for that one."""
    last = max(gpus, key=lambda gpu: gpu.uuid)
    program = f"""
held = acquire([0, 1, 2, 3], setter="sudo_nvidia_smi")
set_limit = type(held._permitted(held.gpus[0].uuid, Knobs())).set_power_limit
def slow(self, uuid, limit_mw):
    os.environ["SMI_DELAY_S"] = "2" if uuid == "{last.uuid}" else "0"
    set_limit(self, uuid, limit_mw)
type(held._setter).set_power_limit = slow
say()
held.apply(Knobs(power_limit_w=400))
"""
    others = [gpu for gpu in gpus if gpu.uuid != last.uuid]
    with controller(program, gpus.env) as child:
        heard(child)
        wait_until(lambda: any(runs_on(process, last.uuid) for process in psutil.process_iter()), 30)
        assert [gpu.power_limit_w for gpu in others] == [400] * 3
        child.kill()
        wait_until(lambda: [gpu.power_limit_w for gpu in others] == [700] * 3)
        assert last.uuid in journal.uuids(state_dir)  # its setting is still pending
        wait_until(lambda: not journal.uuids(state_dir), 60)
    assert [gpu.power_limit_w for gpu in gpus] == [700] * 4
