"""Cells as Ray graphs in lanes: one engine for many cells, repeated if an actor is lost."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from graph_cells import paced_cell, role_processes

from orchestrator.lanes.executor import RayExecutor
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings
from orchestrator.sweep.scheduler import FinishedCell, schedule

pytestmark = [pytest.mark.ray, pytest.mark.slow]


HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def executor() -> Iterator[RayExecutor]:
    executor = RayExecutor(ClusterSettings(num_workers=1), run_cell, max_attempts=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]))
        executor.start()
        try:
            yield executor
        finally:
            executor.close()


def _run(executor: RayExecutor, *cells: Cell) -> list[FinishedCell]:
    return list(schedule(cells, executor, max_attempts=2))


def _locally(cell: Cell) -> Cell:
    plain = cell.canonical()
    return Cell.model_validate({**plain, "workflow": {**plain["workflow"], "executor": "local"}})


def test_one_engine_serves_both_executors_and_every_workflow(executor):
    through = [
        paced_cell(workflow, users=2, num_workflows=2) for workflow in ("chat", "map_reduce_summary", "composite")
    ]
    finished = _run(executor, *through, *map(_locally, through))
    assert [each.error for each in finished] == [None] * 6
    assert len({attempt.lane for each in finished for attempt in each.attempts}) == 1
    names = ["request_id", "role", "prompt_tokens", "output_tokens"]
    requests = {each.cell.cell_id: each.result.series["requests"].select(names) for each in finished}
    for cell in through:
        assert requests[cell.cell_id] == requests[_locally(cell).cell_id]


def test_a_cell_whose_role_is_lost_is_repeated_on_a_new_lane(executor):
    cell = paced_cell("chat", users=1, num_workflows=100)
    cell = Cell.model_validate({**cell.canonical(), "seed": 1})  # another engine: the lane before goes, with its roles
    killer = threading.Thread(target=_kill_role, args=(role_processes(),))
    killer.start()
    (finished,) = _run(executor, cell)
    killer.join()
    first, second = finished.attempts
    assert (first.outcome, first.error_kind, second.outcome) == ("failed", "InfrastructureError", "ok")
    assert first.error.startswith("the actor of role assistant was lost: ")
    assert first.lane != second.lane
    deadline_s = time.monotonic() + 10
    while len(role_processes()) > 1 and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert len(role_processes()) == 1  # those of lanes that are gone went with them


def _kill_role(before: set[psutil.Process]) -> None:
    while not (roles := role_processes() - before):
        time.sleep(0.05)
    time.sleep(0.5)  # into the cell
    for process in roles:
        process.kill()
