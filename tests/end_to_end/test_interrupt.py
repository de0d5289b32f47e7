"""One Ctrl-C: nothing new starts, what has finished is kept, everything goes down, the way on is printed."""

import os
import shlex
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.command import MATRIX, end, joulegrid, start, sweep_folder, whole_records

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def _interrupted(folder: Path, number: int, *, whole_group: bool, executor: str):
    process = start(folder, *MATRIX, "load.num_workflows=500", f"executor={executor}")
    while len(list(folder.glob("runs/*/cells/*/record.json"))) < 3 and process.poll() is None:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    begun_s = time.monotonic()
    (os.killpg if whole_group else os.kill)(process.pid, number)
    ended = end(process)
    return ended, time.monotonic() - begun_s, children


@pytest.mark.parametrize(
    ("number", "whole_group", "executor"),
    [(signal.SIGINT, True, "ray"), (signal.SIGTERM, False, "ray"), (signal.SIGINT, True, "inline")],
)
def test_one_signal_ends_the_sweep_within_ten_seconds_and_says_how_to_go_on(tmp_path, number, whole_group, executor):
    ended, took_s, children = _interrupted(tmp_path, number, whole_group=whole_group, executor=executor)

    assert ended.code == 130, ended.err
    assert took_s < 10
    kept = whole_records(tmp_path)
    assert ended.line["ok"] == len(kept) >= 3
    assert ended.line["pending"] == ended.line["cells"] - len(kept) > 0
    sweep_id = sweep_folder(tmp_path).name
    assert f"python -m orchestrator resume={sweep_id}" in ended.out
    assert "Traceback" not in ended.err
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_what_was_interrupted_is_resumed_by_the_printed_command(tmp_path: Path):
    ended, _, _ = _interrupted(tmp_path, signal.SIGINT, whole_group=True, executor="inline")
    (command,) = [line for line in ended.out.splitlines() if "orchestrator resume=" in line]
    resumed = joulegrid(tmp_path, *shlex.split(command.partition("-m orchestrator ")[2]))
    assert resumed.code == 0, resumed.err
    assert resumed.line["ok"] == resumed.line["cells"]
    assert resumed.line["skipped"] == ended.line["ok"]
