"""Goodput and attainment, against values computed by hand."""

import pytest

from orchestrator.measure.slo import objective_metrics
from orchestrator.measure.window import Window
from orchestrator.records.series import SCHEMAS
from orchestrator.spec.settings import Slo

_WINDOW = Window(rule="arrivals", start_s=0.0, end_s=20.0)


@pytest.fixture
def tables(table):
    """Four requests of three workflows, their first tokens after 1, 2, 3 and 0.5 s; ``late`` ends after the window."""
    requests = [
        {"request_id": "a", "submitted_s": 0, "first_token_s": 1, "finished_s": 2},  # tpot 100 ms
        {"request_id": "b", "submitted_s": 0, "first_token_s": 2, "finished_s": 2.5},  # 50 ms
        {"request_id": "one", "submitted_s": 5, "first_token_s": 8, "finished_s": 8, "output_tokens": 1},
        {"request_id": "late", "submitted_s": 19, "first_token_s": 19.5, "finished_s": 21},
    ]
    flow = {"a": "w0", "b": "w0", "one": "w1", "late": "w2"}
    for request in requests:
        request["workflow_id"] = flow[request["request_id"]]
    steps = [
        {
            "arrival_s": request["submitted_s"],
            **{key: request[key] for key in ("request_id", "workflow_id", "finished_s")},
        }
        for request in requests
    ]
    return {"requests": table("requests", requests), "steps": table("steps", steps)}


@pytest.mark.parametrize(
    ("slo", "good"),
    [
        (Slo(ttft_ms=1000), 2),
        (Slo(ttft_ms=2000), 3),
        (Slo(tpot_ms=50), 2),  # b, and the one without a TPOT
        (Slo(ttft_ms=1000, tpot_ms=1000), 2),
        (Slo(ttft_ms=100, tpot_ms=100), 0),
        (Slo(ttft_ms=2000, tpot_ms=60), 1),
        (Slo(e2el_ms=2500), 3),
    ],
)
def test_a_request_is_good_within_all_its_limits(tables, slo, good):
    metrics = objective_metrics(tables, _WINDOW, slo)
    assert metrics == pytest.approx({"request_goodput": good / 20, "slo_attainment_ratio": good / 4})


def test_a_workflow_is_good_from_its_arrival_to_its_last_step(tables):
    metrics = objective_metrics(tables, _WINDOW, Slo(workflow_ms=2500))
    assert metrics == pytest.approx({"workflow_goodput": 2 / 20, "workflow_slo_attainment_ratio": 2 / 3})
    both = objective_metrics(tables, _WINDOW, Slo(workflow_ms=2499, ttft_ms=5000))
    assert (both["workflow_goodput"], both["slo_attainment_ratio"]) == (pytest.approx(1 / 20), 1.0)


def test_the_burst_in_which_all_users_begin_does_not_count(table):
    rows = [{"request_id": f"burst{i}", "submitted_s": 0, "first_token_s": 3, "finished_s": 5} for i in range(4)]
    rows += [{"request_id": f"r{i}", "submitted_s": 5, "first_token_s": 5.1, "finished_s": 8} for i in range(4)]
    steps = [{"request_id": row["request_id"], "arrival_s": 0, "finished_s": 5} for row in rows]
    window = Window(rule="steady_state", start_s=3.0, end_s=10.0, k=4)
    series = {"requests": table("requests", rows), "steps": table("steps", steps)}
    metrics = objective_metrics(series, window, Slo(ttft_ms=400))
    assert metrics == {"request_goodput": pytest.approx(4 / 7), "slo_attainment_ratio": 1.0}


def test_no_limit_no_metric_and_no_request_no_share(tables):
    assert objective_metrics(tables, _WINDOW, Slo()) == {}
    nothing = {name: SCHEMAS[name].empty_table() for name in ("requests", "steps")}
    metrics = objective_metrics(nothing, _WINDOW, Slo(ttft_ms=1, workflow_ms=1))
    assert metrics == {"request_goodput": 0.0, "workflow_goodput": 0.0}
    assert objective_metrics(nothing, Window(rule="arrivals", start_s=3.0, end_s=3.0), Slo(ttft_ms=1)) == {}
