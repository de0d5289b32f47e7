"""The guard: its parent, how many there are, when it ends, and what it survives."""

import os
import signal
import time
from pathlib import Path

import psutil

from collectors.control import Knobs, acquire, journal
from collectors.control.guard_link import _LANE_VARIABLE, log_path
from orchestrator.lanes.processes import LANE, kill_lane
from tests.collectors.control.guard_process import controller, guard_pid, heard, kill, wait_until

HOLD = """
held = acquire([int(sys.argv[1])])
held.apply(Knobs(power_limit_w=400, sm_clock_mhz=900))
say(os.getpid())
time.sleep(60)
"""

FORK = """
held = acquire([0])
held.apply(Knobs(power_limit_w=400))
say(os.fork() or "child")
time.sleep(60)
"""


def _back(gpu) -> bool:
    return (gpu.power_limit_w, gpu.locked_sm_clock_mhz) == (700, None)


def test_it_is_a_daemon_and_survives_the_end_of_a_lane(gpus, state_dir):
    assert _LANE_VARIABLE == LANE
    with controller(HOLD, {**gpus.env, LANE: "lane-7"}, "0") as child:
        pid = int(heard(child))
        guard = psutil.Process(guard_pid(state_dir))
        assert (os.getsid(guard.pid) == os.getsid(pid), os.getpgid(guard.pid) == os.getpgid(pid)) == (False, False)
        assert guard.ppid() not in {pid, child.pid, os.getpid()}
        assert LANE not in guard.environ()
        assert int(Path(f"/proc/{guard.pid}/oom_score_adj").read_text()) <= 0
        for ignored in (signal.SIGTERM, signal.SIGHUP):
            guard.send_signal(ignored)
        assert kill_lane("lane-7", 5) == ()
        wait_until(lambda: _back(gpus[0]))
    wait_until(lambda: not guard.is_running() or guard.status() == psutil.STATUS_ZOMBIE)
    assert '"found_w": 400.0, "limit": "restored", "clock_unlocked": true' in log_path(state_dir).read_text()


def test_one_guard_watches_all_controllers_of_a_node(gpus, state_dir):
    with controller(HOLD, gpus.env, "0") as first, controller(HOLD, gpus.env, "1") as second:
        heard(first), heard(second)
        guard = guard_pid(state_dir)
        first.kill()
        wait_until(lambda: _back(gpus[0]))
        assert gpus[1].power_limit_w == 400
        assert guard_pid(state_dir) == guard
        second.kill()
        wait_until(lambda: _back(gpus[1]))
    wait_until(lambda: guard_pid(state_dir) is None)


def test_it_ends_with_the_last_controller_and_a_new_one_starts_another(gpus, state_dir):
    with acquire([0]) as control:
        control.apply(Knobs(power_limit_w=400))
        first = guard_pid(state_dir)
        assert first is not None
        kill(first)
        control.apply(Knobs(power_limit_w=300))
        assert guard_pid(state_dir) not in {None, first}
    wait_until(lambda: guard_pid(state_dir) is None)
    with acquire([0]) as control:
        control.apply(Knobs(power_limit_w=400))
        assert guard_pid(state_dir) is not None


def test_a_forked_child_that_has_the_lock_open_does_not_prevent_restoring(gpus, state_dir):
    with controller(FORK, gpus.env) as child:
        pids = {heard(child), heard(child)} - {"child"}
        child.kill()
        try:
            wait_until(lambda: _back(gpus[0]))
            wait_until(lambda: journal.uuids(state_dir) == ())
        finally:
            kill(int(pids.pop()))


def test_the_journal_of_another_living_controller_is_not_touched(gpus, state_dir):
    with controller(HOLD, gpus.env, "0") as child:
        heard(child)
        with acquire([1]) as control:
            control.apply(Knobs(power_limit_w=400))
        time.sleep(0.1)
        assert gpus[0].power_limit_w == 400
    wait_until(lambda: _back(gpus[0]))
