"""A sampler in its own process: the same series, and it ends with its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from collectors import sampler_process
from collectors.errors import CollectorError
from collectors.sampler_process import SamplerProcess
from collectors.sources import SourceSpec
from tests.fake_nvml.gpu_models import H100

PARENT = """
import sys, time
from pathlib import Path
from collectors.sampler_process import SamplerProcess
from collectors.sources import SourceSpec
if __name__ == "__main__":
    sampler = SamplerProcess(SourceSpec("replay", (), Path(sys.argv[1])), 0.05)
    sampler.start()
    print(sampler.pid, flush=True)
    time.sleep(120)
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text("t_s,power_w,energy_j\n0,100,0\n1000,100,100000\n")
    return path


@pytest.fixture
def sampler(trace: Path):
    started = SamplerProcess(SourceSpec("replay", (), trace), 0.02)
    started.start()
    yield started
    started.stop()


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def ends(pid: int) -> bool:
    give_up_s = time.monotonic() + 20
    while not has_ended(pid) and time.monotonic() < give_up_s:
        time.sleep(0.02)
    return has_ended(pid)


def test_times_are_on_the_clock_of_this_process(sampler):
    start_s = time.monotonic()
    time.sleep(0.2)
    end_s = time.monotonic()
    series = sampler.take(start_s, end_s)
    t_s = series["power"]["t_s"]
    assert t_s[0] <= start_s < t_s[1]
    assert t_s[-1] >= end_s
    assert set(series["power"]["power_w"]) == {100.0}
    np.testing.assert_allclose(np.diff(series["power"]["energy_j"]) / np.diff(t_s), 100.0, rtol=1e-6)
    latest = sampler.latest("TRACE-0")
    assert latest is not None
    assert latest["power_w"] == 100.0
    assert sampler.latest("TRACE-9") is None


def test_it_reads_the_gpus_this_process_sees(fake_gpus, monkeypatch):
    fake_gpus.load(monkeypatch)
    fake_gpus[3].set_power(321)
    sampler = SamplerProcess([SourceSpec("nvml", (fake_gpus[3].uuid,))], 0.02)
    sampler.start()
    time.sleep(0.1)
    power = sampler.take(0.0, time.monotonic())["power"]
    sampler.stop()
    assert set(power["device"]) == {fake_gpus[3].uuid}
    assert set(power["power_w"]) == {321.0}
    assert H100.idle_power_w not in power["power_w"]


def test_a_source_that_cannot_be_opened_is_an_error_of_start(tmp_path):
    sampler = SamplerProcess(SourceSpec("replay", (), tmp_path / "none.csv"), 0.05)
    with pytest.raises(CollectorError, match=r"power trace .*none.csv cannot be read"):
        sampler.start()
    assert sampler.pid is None
    with pytest.raises(CollectorError, match="start it first"):
        sampler.take(0.0, 1.0)


def test_every_call_raises_after_a_kill(sampler):
    os.kill(sampler.pid, signal.SIGKILL)
    with pytest.raises(CollectorError, match="has ended: killed by signal 9"):
        sampler.take(0.0, 1.0)
    with pytest.raises(CollectorError, match="has ended: killed by signal 9"):
        sampler.latest("TRACE-0")


def test_it_ends_when_it_is_stopped_and_not_by_an_interrupt(sampler):
    pid = sampler.pid
    os.kill(pid, signal.SIGINT)
    assert len(sampler.take(0.0, time.monotonic())["power"]["t_s"])
    sampler.stop()
    assert has_ended(pid)
    sampler.stop()


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent(trace, tmp_path, way):
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(program), str(trace)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not has_ended(pid)
        parent.send_signal(way)
    assert ends(pid)


def test_a_stopped_child_does_not_block_its_parent(sampler):
    pid = sampler.pid
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    sampler.stop()
    assert has_ended(pid)


def test_a_late_answer_is_not_taken_for_the_next(sampler, monkeypatch):
    monkeypatch.setattr(sampler_process, "_ANSWER_TIMEOUT_S", 0.05)
    pid = sampler.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(CollectorError, match=r"has not answered for 0\.05 s"):
        sampler.take(0.0, 1.0)
    os.kill(pid, signal.SIGCONT)
    assert not sampler.running
    with pytest.raises(CollectorError, match="start it first"):
        sampler.latest("TRACE-0")
    assert ends(pid)


def test_started_by_hand_it_names_the_module_that_starts_it():
    ended = subprocess.run(
        [sys.executable, "-m", "collectors.sampler_child"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == 1
    assert ended.stderr.strip() == (
        "collectors.sampler_process starts this module; to sample in this process, use Sampler"
    )
