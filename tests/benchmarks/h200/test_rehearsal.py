"""The way of the H200's sweeps without one: run by `next`, fetched by `transfer take`, rendered, nothing left to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.h200.progress import read_progress

pytestmark = [pytest.mark.exhaustive, pytest.mark.ray, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[3]
SIMULATED = ("--also=engine=simulated", "--also=hardware=h200_sxm", "--also=tracking=none")
SWEEPS = ("--only=reference_8b", "--only=batch_h200")


def run(folder: Path, module: str, *arguments: str) -> str:
    """A module as a command in ``folder``; what it printed."""
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_both_sweeps_come_home_and_are_not_run_again(tmp_path):
    host, home = tmp_path / "host", tmp_path / "home"
    for folder in (host, home, home / ".h200"):
        folder.mkdir()
    run(host, "benchmarks.h200.next", "--out", "out", *SIMULATED, *SWEEPS)
    output = run(home, "benchmarks.h200.transfer", "take", str(host / "out"))
    assert "batch_h200     done" in output
    counts = [len(list(path.glob("cells/*/record.json"))) for path in sorted((home / "h200_runs" / "runs").iterdir())]
    assert counts == [12, 7]
    rendered = run(home, "orchestrator", "report", "runs_dir=h200_runs/runs").splitlines()[-1]
    assert "SIMULATED" in Path(home, json.loads(rendered)["report"]).read_text()
    next_host = tmp_path / "next_host"
    (next_host / ".h200").mkdir(parents=True)
    for piece in (home / ".h200").iterdir():
        (next_host / ".h200" / piece.name).write_bytes(piece.read_bytes())
    again = run(next_host, "benchmarks.h200.next", "--out", "out", "--carried", ".h200", *SIMULATED, *SWEEPS)
    assert "==" not in again
    assert read_progress(next_host / "h200_runs").of("reference_8b").done
