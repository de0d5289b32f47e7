"""A driver process with a running engine leaves nothing behind when it is stopped or killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lane_fakes.cells import children_left
from lane_fakes.engine import SCRATCH

pytestmark = [pytest.mark.ray, pytest.mark.slow]


HERE = Path(__file__).parent


ROOT = HERE.parent.parent.parent


DRIVER = """
from lane_fakes.cells import a_lane_cell, in_virtual_time
from orchestrator.lanes.executor import RayExecutor
from orchestrator.sweep.scheduler import schedule
from orchestrator.sweep.signals import interruptible
from orchestrator.spec.settings import ClusterSettings

executor = RayExecutor(ClusterSettings(num_workers=1), in_virtual_time)
try:
    executor.start()
    with interruptible() as stop:
        on_lane = lambda record: print("loaded", flush=True)
        for finished in schedule([a_lane_cell("crawls")], executor, max_attempts=1, stop=stop, on_lane=on_lane):
            print("ended", finished.error, flush=True)
finally:
    executor.close()
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A driver that runs a cell without end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = os.pathsep.join(map(str, (HERE, HERE.parent, ROOT)))
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdout=subprocess.PIPE,
        text=True,
        env={**kept, "PYTHONPATH": path, SCRATCH: str(tmp_path)},
        start_new_session=True,
    )
    with process:
        assert process.stdout.readline() == "loaded\n"
        time.sleep(1)
        assert len(children_left(tmp_path)) == 1
        yield process
        process.kill()


def _gone(scratch: Path) -> bool:
    deadline_s = time.monotonic() + 20
    while children_left(scratch) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    return children_left(scratch) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_ends_leaves_no_engine(driver, tmp_path, number):
    os.killpg(driver.pid, number)
    out, _ = driver.communicate(timeout=60)
    assert "ended" not in out
    assert _gone(tmp_path)
