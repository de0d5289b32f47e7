"""The process of the bare loop, with a program that only prints its lines."""

import sys
from pathlib import Path

import pytest

from benchmarks.bare_loop import BareProcess
from benchmarks.lane_contest import contest_cells

LOOP = """
import json, sys
print("a library's line")
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    print(json.dumps({"output_tokens": 50 * (1 + int(line)), "seconds": 2.0}), flush=True)
"""


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program that runs in place of the bare loop."""
    program, python = tmp_path / "loop.py", tmp_path / "python"
    program.write_text(LOOP)
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {program}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return program


@pytest.fixture
def cell():
    return contest_cells("engine=vllm", "model=tiny_llama", "hardware=cpu", "collectors=none")["local"]


def test_tokens_over_seconds_of_each_repeat(loop, cell):
    bare = BareProcess(cell)
    assert [bare.run(0), bare.run(3)] == [25.0, 100.0]
    assert bare.start_s > 0
    bare.close()


def test_a_hanging_process_is_killed_and_reported(loop, cell):
    loop.write_text("import time; time.sleep(60)")
    with pytest.raises(SystemExit, match="the bare loop ended"):
        BareProcess(cell, limit_s=0.1)
