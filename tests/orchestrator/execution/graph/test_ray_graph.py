"""Workflows through actors: what is asked is what the local executor asks, and errors stay in their cell."""

import time
from collections import Counter

import psutil
import pytest
from graph_cells import WORKFLOWS, recording_cell
from graph_plugins import recording

from orchestrator.errors import CellError, InfrastructureError

pytestmark = pytest.mark.ray


def _role_actors():
    return {process for process in psutil.process_iter() if "ray::RoleActor" in process.name()}


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_both_executors_issue_the_identical_request_set(lane, workflow):
    cell = recording_cell(workflow)
    result = lane.run(cell)
    through_ray = sorted(lane.told("request"), key=lambda request: request["id"])
    beside = lane.run_locally(cell)
    assert through_ray == sorted(lane.told("request"), key=lambda request: request["id"])
    names = ["workflow_id", "tenant", "step", "role", "request_id", "parents"]
    assert result.series["steps"].select(names) == beside.series["steps"].select(names)


def test_a_prompt_carries_the_tokens_that_its_parents_generated(lane):
    lane.run(recording_cell("multi_agent_coding"))
    asked = {request["id"]: request for request in lane.told("request")}
    outputs = {
        content: (n, ids) for request in asked.values() for content, n, ids in request["prompt"] if content in asked
    }
    assert Counter(content.split("/")[1].split("-")[0] for content in outputs) == {
        "architect": 2,
        "coder": 8,
        "reviewer": 2,
    }
    for content, (n, ids) in outputs.items():
        assert ids == list(recording.generated(content, n))
        assert n == asked[content]["output_tokens"] - 1


def test_the_first_error_cancels_the_rest_of_all_workflows_and_the_next_cell_runs(lane):
    slow = recording_cell("map_reduce_summary", answer_ms=2000.0, refuses="map-3")
    error = lane.run(slow)
    assert isinstance(error, CellError)
    assert str(error).endswith("/map-3: refused")
    asked, cancelled = {request["id"] for request in lane.told("request")}, set(lane.told("cancelled"))
    assert len(cancelled) >= 2
    assert cancelled == {each for each in asked if not each.endswith("/map-3")}
    assert lane.run(recording_cell("chat")).status == "ok"


def test_an_engine_that_is_lost_is_an_infrastructure_error(new_lane):
    cell = recording_cell("chat", dies_at="chat-1/answer")
    new_lane.start(cell)
    error = new_lane.run(cell)
    assert isinstance(error, InfrastructureError)
    assert str(error).startswith("the engine's actor was lost: ")
    assert "\n" not in str(error)


def test_a_role_that_is_lost_is_an_infrastructure_error(new_lane):
    import ray

    cell = recording_cell("chain_summary", num_workflows=1000)
    new_lane.start(cell)
    others = _role_actors()
    running = new_lane.conductor.run.remote(cell, {})
    while not new_lane.log.exists():
        time.sleep(0.05)
    (role,) = _role_actors() - others
    role.kill()
    error = ray.get(running, timeout=30)
    assert isinstance(error, InfrastructureError)
    assert str(error).startswith("the actor of role summarizer was lost: ")
    assert "\n" not in str(error)
