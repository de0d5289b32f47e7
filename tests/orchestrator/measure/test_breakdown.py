"""Metrics of each tenant on series small enough to reckon by hand."""

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


def test_each_tenant_has_its_own(tables):
    found = tenant_metrics(tables(), _WINDOW)
    assert found["tenant/chat/num_workflows"] == 2
    assert found["tenant/sum/num_requests"] == 2
    assert found["tenant/chat/mean_ttft_ms"] == pytest.approx(2000)
    assert found["tenant/sum/mean_ttft_ms"] == pytest.approx(3000)
    assert found["tenant/sum/mean_workflow_ms"] == pytest.approx(8000)
    assert found["tenant/chat/p99_workflow_ms"] == pytest.approx(3980)
    assert found["tenant/chat/mean_tpot_ms"] == pytest.approx(100)
    assert found["tenant/chat/attributed_energy_j_per_workflow"] == pytest.approx((30 + 50) / 2)
    assert found["tenant/sum/attributed_energy_j_per_workflow"] == pytest.approx(160)
    assert {key.rpartition("/")[2] for key in found} <= set(BY_KEY)


def test_the_cell_is_the_mean_of_its_tenants(series, tables):
    found = attributed_energy(series("requests", tables()["requests"].to_pylist()), _WINDOW)
    assert found == {"attributed_energy_j_per_workflow": pytest.approx((30 + 50 + 160) / 3)}


def test_goodput_of_each_tenant_beside_that_of_all(tables):
    found = objective_metrics(tables(), _WINDOW, Slo(ttft_ms=1000, workflow_ms=3000))
    assert found["request_goodput"] == pytest.approx(2 / 20)
    assert found["tenant/chat/request_goodput"] == pytest.approx(1 / 20)
    assert found["tenant/chat/slo_attainment_ratio"] == pytest.approx(1 / 2)
    assert found["tenant/sum/slo_attainment_ratio"] == pytest.approx(1 / 2)
    assert found["tenant/sum/workflow_slo_attainment_ratio"] == 0.0


def test_one_tenant_is_the_cell_itself(tables):
    assert tenant_metrics(tables(tenants=("a", "a")), _WINDOW) == {}
    found = objective_metrics(tables(tenants=("a", "a")), _WINDOW, Slo(ttft_ms=1000))
    assert set(found) == {"request_goodput", "slo_attainment_ratio"}


def test_energy_that_was_not_attributed_is_absent(series):
    requests = series("requests", [{"request_id": "a", "submitted_s": 0, "first_token_s": 1, "finished_s": 2}])
    assert attributed_energy(requests, _WINDOW) == {}
    assert attributed_energy(series("requests", []), _WINDOW) == {}


def test_a_key_holds_what_mlflow_and_columns_allow():
    assert tenant_key("a.b/c d", "num_requests") == "tenant/a_b_c_d/num_requests"
