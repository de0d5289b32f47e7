"""Metrics of each tenant, against values computed by hand."""

import pytest

from orchestrator.measure.breakdown import attributed_energy, tenant_key, tenant_metrics
from orchestrator.measure.slo import objective_metrics
from orchestrator.measure.window import Window
from orchestrator.records.metrics import BY_KEY
from orchestrator.spec.settings import Slo

_WINDOW = Window(rule="workflows", start_s=0.0, end_s=20.0)


@pytest.fixture
def tables(table):
    """Two chats and one summary of two steps; a third chat ends after the window."""

    def make(tenants=("chat", "sum")):
        chat, summary = tenants
        rows = [
            # workflow, tenant, submitted, first token, finished, prefill J, decode J
            ("c0", chat, 0, 1, 2, 10, 20),
            ("c1", chat, 0, 3, 4, 10, 40),
            ("c2", chat, 0, 1, 21, 1000, 1000),
            ("s0", summary, 0, 5, 6, 100, 5),
            ("s0", summary, 6, 7, 8, 50, 5),
        ]
        requests = [
            {"request_id": f"r{i}", "workflow_id": w, "tenant": t, "submitted_s": s, "first_token_s": f,
             "finished_s": e, "prefill_energy_j": p, "decode_energy_j": d}
            for i, (w, t, s, f, e, p, d) in enumerate(rows)
        ]  # fmt: skip
        steps = [
            {"request_id": f"r{i}", "step": f"s{i}", "workflow_id": w, "tenant": t, "arrival_s": 0, "finished_s": e}
            for i, (w, t, _, _, e, _, _) in enumerate(rows)
        ]
        series = {"requests": requests, "steps": steps, "iterations": [], "power": []}
        return {name: table(name, rows) for name, rows in series.items()}

    return make


def test_metrics_of_each_tenant(tables):
    metrics = tenant_metrics(tables(), _WINDOW)
    assert metrics["tenant/chat/num_workflows"] == 2
    assert metrics["tenant/sum/num_requests"] == 2
    assert metrics["tenant/chat/mean_ttft_ms"] == pytest.approx(2000)
    assert metrics["tenant/sum/mean_ttft_ms"] == pytest.approx(3000)
    assert metrics["tenant/sum/mean_workflow_ms"] == pytest.approx(8000)
    assert metrics["tenant/chat/p99_workflow_ms"] == pytest.approx(3980)
    assert metrics["tenant/chat/mean_tpot_ms"] == pytest.approx(100)
    assert metrics["tenant/chat/attributed_energy_j_per_workflow"] == pytest.approx((30 + 50) / 2)
    assert metrics["tenant/sum/attributed_energy_j_per_workflow"] == pytest.approx(160)
    assert {key.rpartition("/")[2] for key in metrics} <= set(BY_KEY)


def test_the_cell_is_the_mean_of_its_tenants(series, tables):
    metrics = attributed_energy(series("requests", tables()["requests"].to_pylist()), _WINDOW)
    assert metrics == {"attributed_energy_j_per_workflow": pytest.approx((30 + 50 + 160) / 3)}


def test_goodput_of_each_tenant_beside_that_of_all(tables):
    metrics = objective_metrics(tables(), _WINDOW, Slo(ttft_ms=1000, workflow_ms=3000))
    assert metrics["request_goodput"] == pytest.approx(2 / 20)
    assert metrics["tenant/chat/request_goodput"] == pytest.approx(1 / 20)
    assert metrics["tenant/chat/slo_attainment_ratio"] == pytest.approx(1 / 2)
    assert metrics["tenant/sum/slo_attainment_ratio"] == pytest.approx(1 / 2)
    assert metrics["tenant/sum/workflow_slo_attainment_ratio"] == 0.0


def test_a_cell_with_one_tenant_has_no_keys_of_tenants(tables):
    assert tenant_metrics(tables(tenants=("a", "a")), _WINDOW) == {}
    metrics = objective_metrics(tables(tenants=("a", "a")), _WINDOW, Slo(ttft_ms=1000))
    assert set(metrics) == {"request_goodput", "slo_attainment_ratio"}


def test_energy_that_was_not_attributed_is_absent(series):
    requests = series("requests", [{"request_id": "a", "submitted_s": 0, "first_token_s": 1, "finished_s": 2}])
    assert attributed_energy(requests, _WINDOW) == {}
    assert attributed_energy(series("requests", []), _WINDOW) == {}


def test_characters_that_mlflow_does_not_allow_are_replaced_in_keys():
    assert tenant_key("a.b/c d", "num_requests") == "tenant/a_b_c_d/num_requests"
