"""Identity and state of processes."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from collectors.processes import ProcessId, boot_id, is_stopped, start_ticks


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def _wait_until(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_the_start_of_a_process_is_in_clock_ticks_since_boot(child):
    started_s = start_ticks(child.pid) / os.sysconf("SC_CLK_TCK")
    assert started_s == pytest.approx(psutil.Process(child.pid).create_time() - psutil.boot_time(), abs=1.1)
    assert len(boot_id()) == 36


def test_a_process_lives_until_it_has_ended_even_if_its_parent_has_not_waited(child):
    process = ProcessId.of(child.pid)
    assert process is not None
    assert process.alive
    assert not ProcessId(child.pid, process.start_ticks + 1).alive  # a later process of the same pid
    os.kill(child.pid, signal.SIGKILL)
    _wait_until(lambda: not process.alive)
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    assert ProcessId.of(child.pid) is None


def test_a_stopped_process_is_alive_until_it_continues_or_ends(child):
    process = ProcessId.of(child.pid)
    assert not is_stopped(child.pid)
    os.kill(child.pid, signal.SIGSTOP)
    _wait_until(lambda: is_stopped(child.pid))
    assert process is not None
    assert process.alive
    os.kill(child.pid, signal.SIGCONT)
    _wait_until(lambda: not is_stopped(child.pid))
    child.kill()
    child.wait()
    assert not is_stopped(child.pid)
