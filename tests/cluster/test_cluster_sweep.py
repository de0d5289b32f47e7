"""The product's own command on a running cluster of two nodes."""

import json
import socket
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

MATRIX = ("-m", "workflow=chat,copilot", "engine.max_num_seqs=1,2,4,8,16", "protocol.min_window_s=0", "tracking=none")


def _records(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in folder.glob("runs/*/cells/*/record.json")]


def test_a_sweep_runs_on_both_nodes_and_the_driver_alone_writes(cluster, tmp_path):
    for attempt in range(10):  # the second node joins a few seconds after the first
        folder = tmp_path / str(attempt)
        folder.mkdir()
        done = cluster.joulegrid(folder, *MATRIX, f"cluster.address={cluster.address}")
        assert done.returncode == 0, done.stderr
        nodes = {record["attempts"][-1]["node"] for record in _records(folder)}
        if len(nodes) == 2:
            break
    assert len(nodes) == 2
    assert json.loads(done.stdout.splitlines()[-1])["ok"] == len(_records(folder)) == 10
    assert {path.name for path in folder.iterdir()} == {"runs"}
    assert all(set(record["series"]) == {"requests", "steps", "iterations", "power"} for record in _records(folder))


@pytest.mark.parametrize("reason", ["token", "dead"])
def test_a_cluster_that_cannot_be_joined_is_one_line_and_exit_3(cluster, tmp_path, reason):
    address, changed = cluster.address, {"RAY_AUTH_TOKEN": "wrong"}
    if reason == "dead":
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address, changed = f"127.0.0.1:{unused.getsockname()[1]}", {}
    done = cluster.joulegrid(tmp_path, *MATRIX, f"cluster.address={address}", **changed)
    assert done.returncode == 3
    line = json.loads(done.stdout.splitlines()[-1])
    assert address in line["error"]
    assert line["exit_code"] == 3
    assert done.stderr == f"error: {line['error']}\n"
    assert list(tmp_path.glob("runs/*")) == []
