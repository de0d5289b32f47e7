"""A node lost during a cell: its raylet is killed or stopped, and none of our processes may remain on it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lane_fakes.cells import children_left
from lane_fakes.engine import SCRATCH
from two_nodes import two_nodes

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DRIVER = """
import json
import sys
import time
from pathlib import Path
from lane_fakes.cells import a_lane_cell, in_virtual_time
from lane_fakes.engine import SCRATCH
from orchestrator.lanes.executor import RayExecutor
from orchestrator.sweep.scheduler import schedule
from orchestrator.spec.settings import ClusterSettings

executor = RayExecutor(ClusterSettings(address=sys.argv[1]), in_virtual_time)
try:
    executor.start()
    import ray  # after the executor has set what Ray reads
    while len(ray.nodes()) < 2:
        time.sleep(0.2)
    victim, = [node["NodeID"] for node in ray.nodes() if "node:__internal_head__" not in node["Resources"]]
    Path(sys.argv[2], "victim").write_text(victim)
    cells = [a_lane_cell(sys.argv[3], users=users, stall_timeout_s=200) for users in (1, 2, 3, 4)]
    for finished in schedule(cells, executor, max_attempts=3):
        for attempt in finished.attempts:
            print(json.dumps([attempt.outcome, attempt.node == victim, attempt.error]), flush=True)
finally:
    executor.close()
"""


@pytest.mark.parametrize("fault", ["kills_raylet", pytest.param("stops_raylet", marks=pytest.mark.exhaustive)])
def test_cells_of_a_lost_node_run_on_the_other_and_no_process_is_left(tmp_path: Path, monkeypatch, fault: str):
    monkeypatch.setenv(SCRATCH, str(tmp_path))
    with two_nodes(tmp_path) as cluster:
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, cluster.address, str(tmp_path), fault],
            capture_output=True,
            text=True,
            env=cluster.environment,
            timeout=240,
            check=False,
        )
        deadline_s = time.monotonic() + 10
        while children_left(tmp_path) and time.monotonic() < deadline_s:
            time.sleep(0.2)
        assert children_left(tmp_path) == []
    assert done.returncode == 0, done.stderr
    attempts = [json.loads(line) for line in done.stdout.splitlines()]
    lost = [error for outcome, on_victim, error in attempts if outcome == "failed"]
    assert [attempt[:2] for attempt in attempts].count(["ok", False]) == 4
    assert len(lost) == 1
    assert "was lost, its raylet or all of it" in lost[0]
