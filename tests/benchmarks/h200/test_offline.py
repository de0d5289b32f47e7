"""The command and environment that the script for a host without a network starts."""

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "h200" / "offline.sh"


def run(folder: Path, assemble: str) -> subprocess.CompletedProcess[str]:
    """The script in ``folder``, beside a kit whose last step is ``assemble``; Python only prints how it was called."""
    programs, kit = folder / "bin", folder / ".h200"
    for made in (programs, kit):
        made.mkdir()
    python = programs / "python3"
    python.write_text('#!/bin/sh\necho "$@"; echo "$PYTHONPATH"; echo "$RAY_memory_monitor_refresh_ms $VLLM_HOST_IP"\n')
    python.chmod(0o755)
    (kit / "receive_chunk.sh").write_text('echo "received $1" >&2\n')
    (kit / "assemble.sh").write_text(assemble)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "OUT": "out"}
    command = ["bash", str(SCRIPT), "--limit-s", "90"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_packages_that_were_carried_come_behind_the_checkout_and_ray_minds_no_memory(tmp_path):
    ended = run(tmp_path, "echo 'export PYTHONPATH=/tmp/site'\n")
    arguments, path, variables = ended.stdout.splitlines()
    assert arguments == "-m benchmarks.h200.next --carried .h200 --out out --limit-s 90"
    assert path == f"{tmp_path}:/tmp/site"
    assert variables == "0 127.0.0.1"
    assert "received .h200" in ended.stderr


def test_without_the_packages_nothing_is_started(tmp_path):
    ended = run(tmp_path, "echo 'a chunk is damaged' >&2; exit 1\n")
    assert ended.returncode != 0
    assert ended.stdout == ""
