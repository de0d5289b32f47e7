"""Lanes on fake GPUs: Ray detects them, lanes get them, and they are empty before the next engine starts."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lane_fakes.cells import a_lane_cell, children_left, in_virtual_time
from lane_fakes.engine import SCRATCH

from orchestrator.lanes.executor import RayExecutor
from orchestrator.records.record import LaneRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings
from orchestrator.sweep.scheduler import schedule
from tests.fake_nvml.fake_gpus import BASELINE_BYTES, GIB, H100, FakeGpus

pytestmark = [pytest.mark.ray, pytest.mark.slow]


HERE = Path(__file__).parent


ROOT = HERE.parent.parent.parent


@pytest.fixture
def gpus(make_fake_gpus) -> FakeGpus:
    return make_fake_gpus([H100] * 2)


@pytest.fixture
def executor(gpus: FakeGpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayExecutor]:
    executor = RayExecutor(ClusterSettings(placement_timeout_s=20), in_virtual_time, max_attempts=2)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (HERE, HERE.parent, ROOT))))
    monkeypatch.setenv(SCRATCH, str(tmp_path))
    for name, value in gpus.variables.items():
        monkeypatch.setenv(name, value)
    executor.start()
    try:
        yield executor
    finally:
        executor.close()
    assert children_left(tmp_path) == []


def _cell(seqs: int, n_gpus: int = 1, gpu: str = H100.name) -> Cell:
    plain = a_lane_cell(seqs=seqs, kind="gpu_engine").canonical()
    engine = {**plain["engine"], "tensor_parallel_size": n_gpus}
    return Cell.model_validate({**plain, "engine": engine, "hardware": {**plain["hardware"], "name": gpu}})


def _hold_then_release(gpus: FakeGpus, starts: Path) -> threading.Thread:
    """Hold memory of another process on each GPU from its first engine start on; release both after four seconds."""

    def hold() -> None:
        held: set[str] = set()
        while len(held) < len(gpus):
            lines = starts.read_text().splitlines() if starts.exists() else []
            started = {json.loads(line)["uuid"] for line in lines}
            for gpu in gpus:
                if gpu.uuid in started - held:
                    gpu.hold_memory(777, 8 * GIB)
            held |= started
            time.sleep(0.005)
        time.sleep(4)
        for gpu in gpus:
            gpu.release_memory(777)

    thread = threading.Thread(target=hold)
    thread.start()
    return thread


def test_engines_get_gpus_that_are_empty_and_too_many_or_others_are_refused(executor, gpus, tmp_path):
    holder = _hold_then_release(gpus, tmp_path / "gpus")
    records: list[LaneRecord] = []
    cells = [_cell(seqs) for seqs in (8, 9, 10)]
    finished = list(schedule(cells, executor, max_attempts=1, on_lane=records.append))
    holder.join()
    assert [each.error for each in finished] == [None] * 3
    starts = [json.loads(line) for line in (tmp_path / "gpus").read_text().splitlines()]
    uuids = {gpu.uuid for gpu in gpus}
    assert {start["uuid"] for start in starts[:2]} == uuids
    assert [start["used_bytes"] for start in starts] == [BASELINE_BYTES] * 3
    devices = {record.lane_id: record.devices for record in records}
    assert sorted(devices.values()) == sorted((start["uuid"],) for start in starts)
    (finished,) = schedule([_cell(8, n_gpus=4)], executor, max_attempts=1)
    text = str(finished.error)
    assert text.startswith("the engine needs 4 GPUs and 1 CPU on one node; ")
    assert " has 2 GPUs and " in text
    (finished,) = schedule([_cell(8, gpu="NVIDIA L4")], executor, max_attempts=1)
    assert str(finished.error) == f"node {socket.gethostname()} has {H100.name}, the cell says NVIDIA L4"
