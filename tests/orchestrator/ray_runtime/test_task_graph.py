"""Workflows as Ray graphs: the requests are those of the local executor, and errors end only their cell."""

import time
from collections import Counter

import pytest
from graph_cells import WORKFLOWS, paced_cell, recording_cell, role_processes
from graph_plugins import recording

from orchestrator.errors import CellError, InfrastructureError

pytestmark = pytest.mark.ray


def _in_flight(lane):
    ids = {request["id"] for request in lane.recorded("request")}
    return {each for each in ids - set(lane.recorded("cancelled")) if not each.endswith("/map-3")}


def _spans(result):
    """Tenant, arrival and end of every workflow."""
    spans = {}
    for row in result.series["steps"].to_pylist():
        tenant, begin_s, end_s = spans.get(row["workflow_id"], (row["tenant"], row["arrival_s"], 0.0))
        spans[row["workflow_id"]] = (tenant, begin_s, max(end_s, row["finished_s"]))
    return list(spans.values())


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_both_executors_issue_the_identical_request_set(lane, workflow):
    cell = recording_cell(workflow)
    result = lane.run(cell)
    through_ray = sorted(lane.recorded("request"), key=lambda request: request["id"])
    beside = lane.run_locally(cell)
    assert through_ray == sorted(lane.recorded("request"), key=lambda request: request["id"])
    names = ["workflow_id", "tenant", "step", "role", "request_id", "parents"]
    assert result.series["steps"].select(names) == beside.series["steps"].select(names)


def test_a_prompt_carries_the_tokens_that_its_parents_generated(lane):
    lane.run(recording_cell("multi_agent_coding"))
    requests = {request["id"]: request for request in lane.recorded("request")}
    outputs = {
        content: (n, ids)
        for request in requests.values()
        for content, n, ids in request["prompt"]
        if content in requests
    }
    assert Counter(content.split("/")[1].split("-")[0] for content in outputs) == {
        "architect": 2,
        "coder": 8,
        "reviewer": 2,
    }
    for content, (n, ids) in outputs.items():
        assert ids == list(recording.generated(content, n))
        assert n == requests[content]["output_tokens"] - 1


def test_workflows_of_a_mix_overlap_and_their_roles_keep_them_apart(paced_lane):
    result = paced_lane.run(paced_cell("composite", users=6, num_workflows=12))
    assert (result.status, result.simulated) == ("ok", True)
    spans = _spans(result)
    tenants = {tenant for tenant, _, _ in spans}
    assert tenants == {"chat", "summary"}
    chats, summaries = ([span[1:] for span in spans if span[0] == tenant] for tenant in sorted(tenants))
    assert any(begin < end_s and begin_s < end for begin, end in chats for begin_s, end_s in summaries)
    assert result.metrics["total_gpu_energy_j"] > 0


def test_the_overhead_is_what_the_engine_was_not_busy_with(lane):
    result = lane.run(recording_cell("chain_summary", users=1, num_workflows=3))
    engine_s = {
        row["request_id"]: row["finished_s"] - row["submitted_s"] for row in result.series["requests"].to_pylist()
    }
    latency_s = sum(end_s - begin_s for _, begin_s, end_s in _spans(result))
    assert result.metrics["orchestration_overhead_ms"] == pytest.approx((latency_s - sum(engine_s.values())) / 3 * 1e3)
    assert result.metrics["orchestration_overhead_ms"] > 0


def test_roles_on_engines_of_their_own(paced_lane_of_roles):
    lane, cell = paced_lane_of_roles
    result = lane.run(cell)
    requests, iterations = result.series["requests"], result.series["iterations"]
    by_role = requests.group_by("role").aggregate([("output_tokens", "sum")]).to_pydict()
    tokens = dict(zip(by_role["role"], by_role["output_tokens_sum"], strict=True))
    made = iterations.group_by("engine").aggregate([("decode_tokens", "sum")]).to_pydict()
    assert dict(zip(made["engine"], made["decode_tokens_sum"], strict=True)) == {
        "main": tokens["architect"] + tokens["reviser"],
        "coder+reviewer": tokens["coder"] + tokens["reviewer"],
    }
    assert set(result.series["power"].column("device").to_pylist()) == {"SIM-0", "SIM-1"}


def test_the_first_error_cancels_the_rest_of_all_workflows_and_the_next_cell_runs(lane):
    slow = recording_cell("map_reduce_summary", answer_ms=60_000.0, refuses="map-3")
    error = lane.run(slow)
    assert isinstance(error, CellError)
    assert str(error).endswith("/map-3: refused")
    deadline_s = time.monotonic() + 10
    while (left := _in_flight(lane)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert left == set()
    assert len(lane.recorded("cancelled")) >= 2
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
    others = role_processes()
    running = new_lane.workflow_actor.run.remote(cell, {})
    while not new_lane.log.exists():
        time.sleep(0.05)
    (role,) = role_processes() - others
    role.kill()
    error = ray.get(running, timeout=30)
    assert isinstance(error, InfrastructureError)
    assert str(error).startswith("the actor of role summarizer was lost: ")
    assert "\n" not in str(error)
