"""A driver killed at any moment loses nothing, repeats nothing, and is told apart from one that still works."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.end_to_end.command import MATRIX, cells_in_mlflow, end, joulegrid, start, sweep_folder, whole_records

pytestmark = [pytest.mark.slow, pytest.mark.ray]

N_CELLS = 24


def _killed_after(folder: Path, n_records: int, extra_s: float) -> None:
    """Kill the driver some time after its n-th record is on disk."""
    process = start(folder, *MATRIX)
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s and process.poll() is None:
        if len(list(folder.glob("runs/*/cells/*/record.json"))) >= n_records:
            break
        time.sleep(0.01)
    time.sleep(extra_s)
    os.kill(process.pid, signal.SIGKILL)
    end(process)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in (2, 3, 4))])
def test_kill_9_at_a_random_moment_then_resume_runs_exactly_the_rest(tmp_path: Path, seed: int):
    draw = random.Random(seed)
    _killed_after(tmp_path, n_records=draw.randrange(1, N_CELLS - 2), extra_s=draw.uniform(0, 0.3))
    before = whole_records(tmp_path)
    assert 0 < len(before) <= N_CELLS

    resumed = joulegrid(tmp_path, *MATRIX, "resume=latest")

    assert resumed.code == 0, resumed.err
    assert (resumed.line["cells"], resumed.line["ok"], resumed.line["skipped"]) == (N_CELLS, N_CELLS, len(before))
    after = whole_records(tmp_path)
    assert len(after) == N_CELLS
    assert {cell_id: after[cell_id] for cell_id in before} == before
    assert cells_in_mlflow(tmp_path) == sorted(after)


def test_a_second_driver_on_the_sweep_is_refused(tmp_path: Path):
    first = start(tmp_path, *MATRIX, "load.num_workflows=2000", "executor=inline")
    deadline_s = time.monotonic() + 60
    while not list(tmp_path.glob("runs/*/sweep.json")) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    second = joulegrid(tmp_path, f"resume={sweep_folder(tmp_path).name}")
    first.send_signal(signal.SIGKILL)
    end(first)
    assert second.code == 2
    assert f"pid {first.pid}" in second.line["error"]
    assert second.line["exit_code"] == 2
