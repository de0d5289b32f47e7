import signal
import subprocess
import sys
import time

import psutil
import pytest

from orchestrator.engines.vllm.processes import EngineProcesses, exit_text

CHILD = "import time; time.sleep(60)"


PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{CHILD}']); {CHILD}"


@pytest.fixture
def engine():
    """A parent and its child, as an engine core and its worker."""
    watched = EngineProcesses()
    watched.expect()
    parent = subprocess.Popen([sys.executable, "-c", PARENT])
    until(lambda: psutil.Process(parent.pid).children())
    watched.mark_ready()
    yield watched, parent
    watched.kill()
    parent.wait()


def until(condition):
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_all_descendants_are_known_and_nothing_else(engine):
    watched, parent = engine
    assert watched.pids == (parent.pid, *(child.pid for child in psutil.Process(parent.pid).children()))
    assert watched.trouble() is None
    assert EngineProcesses().pids == ()


def test_a_helper_that_ended_during_the_start_is_not_a_loss():
    watched = EngineProcesses()
    watched.expect()
    own, helper = (subprocess.Popen([sys.executable, "-c", CHILD]) for _ in range(2))
    watched.scan()
    helper.kill()
    helper.wait()
    watched.mark_ready()
    assert (watched.pids, watched.trouble()) == ((own.pid,), None)
    watched.end(timeout_s=0)
    own.wait()


def test_two_engines_of_one_process_have_separate_processes():
    first, second = EngineProcesses(), EngineProcesses()
    started = {}
    for watched in (first, second):
        watched.expect()
        started[id(watched)] = subprocess.Popen([sys.executable, "-c", CHILD])
        watched.mark_ready()
    later = subprocess.Popen([sys.executable, "-c", CHILD])
    never = EngineProcesses()
    for watched in (first, second, never):
        watched.scan()
    assert first.pids == (started[id(first)].pid,)
    assert second.pids == (started[id(second)].pid,)
    never.end(timeout_s=0)
    second.end(timeout_s=0)
    with pytest.raises(subprocess.TimeoutExpired):
        later.wait(0.2)
    assert first.trouble() is None
    first.end(timeout_s=0)
    later.kill()
    for child in (*started.values(), later):
        child.wait()


def test_a_helper_beside_vllms_own_processes_is_not_one_of_them():
    watched = EngineProcesses()
    watched.expect()
    own = subprocess.Popen([sys.executable, "-c", CHILD, "--multiprocessing-fork"])
    helper = subprocess.Popen([sys.executable, "-c", CHILD])
    until(lambda: psutil.Process(helper.pid).cmdline())
    watched.mark_ready()
    assert watched.pids == (own.pid,)
    watched.end(timeout_s=0)
    assert {own.wait(), helper.wait()} <= {0, -signal.SIGKILL}  # 0: reaped before


def test_a_killed_core_is_reported_and_its_worker_is_ended(engine):
    watched, parent = engine
    core, worker = watched.pids
    parent.send_signal(signal.SIGKILL)
    until(watched.trouble)
    assert watched.trouble() == f"vLLM's engine core (process {core}) has ended"
    assert psutil.pid_exists(worker)
    watched.end(timeout_s=0.2)
    until(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)
    assert not psutil.pid_exists(core)


def test_a_stopped_worker_is_reported(engine):
    watched, _ = engine
    worker = watched.pids[1]
    psutil.Process(worker).suspend()
    until(watched.trouble)
    assert watched.trouble() == f"vLLM's worker (process {worker}) is stopped"
    assert watched.stopped() == f"vLLM's process {worker} is stopped"


@pytest.mark.parametrize(
    ("code", "text"),
    [(-9, "was killed by SIGKILL"), (-11, "was killed by SIGSEGV"), (1, "ended with exit status 1"), (None, "is gone")],
)
def test_exit_text(code, text):
    assert exit_text(code) == text
