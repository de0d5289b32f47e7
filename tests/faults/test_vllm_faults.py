"""vLLM killed, stopped and refusing, from the command line to the records, with few engine starts."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("vllm")
pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

TAG = "JOULEGRID_FAULT_TEST"
SWEEP = (
    "-m",
    "engine=vllm",
    "model=tiny_llama",
    "hardware=cpu",
    "collectors=none",
    "workflow=chat",
    "engine.max_num_seqs=8",
    "engine.max_num_batched_tokens=512",
    "load=closed",
    "load.users=2",
    "load.num_workflows=40",
    "workflow.output_tokens.mean=256",
    "workflow.output_tokens.min=200",
    "workflow.prompt_tokens.mean=64",
    "workflow.prompt_tokens.max=256",
    "protocol.min_window_s=0",
    "protocol.idle_baseline_s=0",
    "protocol.warmup_s=0",
    "tracking=none",
)


def _start(folder: Path, *more: str, kv_cache_gib: int | None = 1) -> "subprocess.Popen[str]":
    space = {} if kv_cache_gib is None else {"VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib)}
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *SWEEP, *more],
        cwd=folder,
        env={**os.environ, TAG: str(folder), **space},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _ours(folder: Path) -> list[psutil.Process]:
    """Return every process of the command, whoever its parent is."""
    processes = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(TAG) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except (psutil.Error, OSError):
            continue
    return processes


def _core(folder: Path) -> psutil.Process:
    (core,) = [process for process in _ours(folder) if "EngineCore" in " ".join(process.cmdline())]
    return core


def _loaded(folder: Path) -> int:
    records = [json.loads(path.read_text()) for path in folder.glob("runs/*/lanes/*.json")]
    return sum(record["engine_start_s"] is not None for record in records)


def _until(true: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline_s = time.monotonic() + 300
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def _records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in folder.glob("runs/*/cells/*/record.json")]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGKILL, r"vLLM's engine core.* SIGKILL"),
        pytest.param(signal.SIGSTOP, "SIGSTOP|stopped", marks=pytest.mark.exhaustive),
    ],
)
def test_a_core_that_is_killed_or_stopped_in_a_cell_is_reported_and_the_cell_is_repeated(tmp_path, number, reason):
    process = _start(tmp_path)
    _until(lambda: _loaded(tmp_path) == 1, process)
    time.sleep(1)  # so that the cell is running
    _core(tmp_path).send_signal(number)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    (record,) = _records(tmp_path)
    lost, ok = record["attempts"]
    assert (lost["error_kind"], ok["outcome"]) == ("InfrastructureError", "ok")
    assert re.search(reason, lost["error"])
    assert lost["lane"] != ok["lane"]
    assert json.loads(out.splitlines()[-1])["engine_starts"] == 2
    assert not any(key.endswith("energy_j") for key in record["metrics"])
    assert _ours(tmp_path) == []


@pytest.mark.exhaustive  # the refusals themselves are tested with the engine
def test_cells_that_vllm_refuses_fail_after_one_start_each_and_the_sweep_ends(tmp_path):
    sizes = f"{2**45},1"
    process = _start(tmp_path, f"+engine.kv_cache_memory_bytes={sizes}", "load.users=1,2", kv_cache_gib=None)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1, out + err
    records = _records(tmp_path)
    assert [len(record["attempts"]) for record in records] == [1] * 4
    attempts = [record["attempts"][0] for record in records]
    assert {attempt["error_kind"] for attempt in attempts} == {"CellError"}
    assert len({attempt["error"] for attempt in attempts}) == 2
    assert any("requested memory for kv" in attempt["error"] for attempt in attempts)
    assert [attempt["lane"] is None for attempt in attempts].count(True) == 2
    assert json.loads(out.splitlines()[-1])["engine_starts"] == 0
    assert _ours(tmp_path) == []
