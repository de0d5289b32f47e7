"""The command line as a user calls it: a process of its own in an empty folder."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MATRIX = (
    "-m",
    "workflow=copilot,chat",
    "engine.max_num_seqs=1,2,4,8",
    "hardware.power_limit_w=40%,70%,100%",
    "protocol.min_window_s=0",
)
"""24 cells of a fraction of a second each."""


@dataclass(frozen=True)
class Ended:
    """How a command ended; ``line`` is its last line on standard output."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return found


def start(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    """A command, running; in a process group of its own, so that a signal reaches what it started."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: "subprocess.Popen[str]", timeout_s: float = 240) -> Ended:
    """Wait for a command."""
    out, err = process.communicate(timeout=timeout_s)
    return Ended(process.returncode, out, err)


def joulegrid(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> Ended:
    """A command, from start to end."""
    return end(start(folder, *arguments, env=env))


def sweep_folder(folder: Path) -> Path:
    """The only sweep below ``folder``."""
    (found,) = [path for path in (folder / "runs").iterdir() if (path / "sweep.json").is_file()]
    return found


def whole_records(folder: Path) -> dict[str, bytes]:
    """The bytes of every record that is on disk."""
    return {path.parent.name: path.read_bytes() for path in sweep_folder(folder).glob("cells/*/record.json")}


def cells_in_mlflow(folder: Path) -> Sequence[str]:
    """The cell id of every active cell run, one entry a run."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`joulegrid.cell_id` != ''", max_results=1000)
    return sorted(run.data.tags["joulegrid.cell_id"] for run in runs)
