"""A separate driver process: what it prints, how it stops, and that it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]


HERE = Path(__file__).parent


DRIVER = """
import sys, time
import cell_functions
from sample_sweeps import a_cell
from orchestrator.lanes.executor import RayExecutor
from orchestrator.sweep.scheduler import schedule
from orchestrator.sweep.signals import interruptible
from orchestrator.spec.settings import ClusterSettings

executor = RayExecutor(ClusterSettings.model_validate_json(sys.argv[1]), getattr(cell_functions, sys.argv[2]))
try:
    executor.start()
    with interruptible() as stop:
        cells = [a_cell(repeat=int(repeat)) for repeat in sys.argv[3].split(",")]
        for finished in schedule(cells, executor, max_attempts=2, stop=stop):
            text = finished.error if finished.result is None else finished.result.provenance.get("node", "ok")
            print(finished.cell.repeat, text, flush=True)
finally:
    executor.close()
sys.exit(130 if stop() else 0)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    root = HERE.parent.parent.parent
    path = os.pathsep.join(map(str, (HERE, HERE.parent, root)))
    return {**kept, "PYTHONPATH": path, "HOME": str(tmp_path), "CELL_FUNCTIONS_SCRATCH": str(tmp_path)}


@pytest.fixture
def driver(environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Two quick cells and two that sleep a minute, in a process group of its own as in a terminal."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, '{"num_workers": 2}', "run", "0,1" + ",105" * 2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    with process:
        yield process
        process.kill()


def _started(driver: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Wait for both quick cells; every process of the driver's by then."""
    assert sorted(driver.stdout.readline() for _ in range(2)) == ["0 ok\n", "1 ok\n"]
    time.sleep(0.5)
    return psutil.Process(driver.pid).children(recursive=True)


def _gone(processes: list[psutil.Process]) -> bool:
    return psutil.wait_procs(processes, timeout=10)[1] == []


def test_nothing_but_the_drivers_own_words_is_printed(environment):
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, "{}", "run", "0,104,100"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=True,
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] in (["0", "100", "104"], ["100", "0", "104"])
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_ends_within_ten_seconds_and_leaves_nothing(driver, number):
    processes = _started(driver)
    began_s = time.monotonic()
    os.killpg(driver.pid, number)
    out, err = driver.communicate(timeout=60)
    took_s = time.monotonic() - began_s
    assert driver.returncode == 130, err
    assert took_s < 15  # the limit is 10 s; without it Ray waits a minute and aborts
    assert "105" not in out
    assert err.strip().splitlines() == [
        "stopping: nothing new starts, what has finished is kept; once more to end at once"
    ]
    assert _gone(processes)


def test_twice_ends_at_once(driver):
    processes = _started(driver)
    os.killpg(driver.pid, signal.SIGINT)
    time.sleep(0.3)
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.wait(timeout=5) == 130
    assert _gone(processes)


def test_a_killed_driver_leaves_nothing(driver):
    processes = _started(driver)
    temp_dir = _temp_dir(processes)
    assert temp_dir.exists()
    driver.kill()
    driver.wait()
    assert _gone(processes)
    assert not temp_dir.exists()


def test_a_driver_that_dies_while_ray_starts_leaves_nothing(environment):
    temp_dir = Path(tempfile.mkdtemp(prefix="joulegrid-ray-"))
    host_process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.ray_runtime.local_ray", json.dumps([str(temp_dir), 1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    host_process.stdin.close()
    host_process.stdout.close()
    host_process.wait(timeout=60)
    assert not temp_dir.exists()


def test_a_ray_that_is_killed_does_not_hold_up_the_end(driver):
    for process in _started(driver):
        if process.name() in ("gcs_server", "raylet"):
            process.kill()
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=30)
    assert driver.returncode == 130


def _temp_dir(processes: list[psutil.Process]) -> Path:
    words = [word for process in processes for word in process.cmdline() if word.startswith("--session-dir=")]
    return Path(words[0].removeprefix("--session-dir=")).parent
