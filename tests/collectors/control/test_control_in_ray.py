"""A controller in a Ray actor: the guard is not a process of Ray, so it restores the GPU whatever of Ray is killed.

A kill of only the raylet is tested with the lanes: a bare actor outlives its raylet, the actors of lanes do not.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from collectors.control import journal
from tests.collectors.control.guard_process import guard_pid, heard, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PROGRAM = """
import json, logging, os, ray, time
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
         object_store_memory=100 * 2**20)

@ray.remote(num_cpus=0)
class Collector:
    def hold(self):
        from collectors.control import Knobs, acquire
        self.control = acquire([0])
        self.control.apply(Knobs(power_limit_w=400, sm_clock_mhz=900))
        return os.getpid()

collector = Collector.remote()
print(ray.get(collector.hold.remote()), flush=True)
if input() == "shutdown":
    ray.shutdown()
time.sleep(60)
"""


def _victims(killed: str, driver: psutil.Process, collector: int) -> list[psutil.Process]:
    if killed == "shutdown":
        return []
    of_ray = driver.children(recursive=True)
    wanted = {
        "the actor": [psutil.Process(collector)],
        "the driver": [driver],
        "all": [driver, *of_ray],
    }
    return wanted[killed]


@pytest.mark.parametrize("killed", ["the actor", "the driver", "all", "shutdown"])
def test_the_guard_outlives_it(gpus, state_dir, tmp_path, killed):
    env = {**gpus.env, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path)}
    env.pop("RAY_ADDRESS", None)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:
        driver = psutil.Process(child.pid)
        left: list[psutil.Process] = []
        try:
            collector = json.loads(heard(child))
            assert (gpus[0].power_limit_w, gpus[0].locked_sm_clock_mhz) == (400, (900, 900))
            left = driver.children(recursive=True)
            assert guard_pid(state_dir) not in {None, *(each.pid for each in left)}
            victims = _victims(killed, driver, collector)
            assert victims or killed == "shutdown"
            for each in victims:
                each.kill()
            if killed == "shutdown":
                child.stdin.write("shutdown\n")
            wait_until(lambda: not journal.uuids(state_dir), 60)
            assert (gpus[0].power_limit_w, gpus[0].locked_sm_clock_mhz) == (700, None)
        finally:
            for each in [driver, *left]:
                with suppress(ProcessLookupError, psutil.NoSuchProcess):
                    if each.is_running():
                        os.kill(each.pid, signal.SIGKILL)
