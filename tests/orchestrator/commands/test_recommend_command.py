import json

import pyarrow as pa
import pytest
from sample_sweeps import a_cell, a_matrix, a_record, settings

from orchestrator.cli import main
from orchestrator.records.series import REQUESTS, STEPS
from orchestrator.spec.settings import Slo
from orchestrator.store.sweep import SweepStore

ENERGY = "gpu_energy_j_per_workflow"
TTFT_S = {1: 0.2, 2: 0.3, 4: 0.6, 8: 0.9}
"""Larger batches answer later, and need less energy."""


def series_of(**ttft_s):
    """One request of each tenant, at 0, with its first token as given."""
    rows = [
        {"request_id": tenant, "workflow_id": tenant, "tenant": tenant, "output_tokens": 11, "submitted_s": 0.0}
        | {"arrival_s": 0.0, "parents": [], "first_token_s": first_s, "finished_s": first_s + 0.5}
        for tenant, first_s in ttft_s.items()
    ]
    return {
        name: pa.Table.from_pylist([{key: row.get(key) for key in schema.names} for row in rows], schema=schema)
        for name, schema in (("requests", REQUESTS), ("steps", STEPS))
    }


def a_sweep(runs_dir, slo=None, simulated=lambda batch: True, tenants=()):
    cells = [a_cell(max_num_seqs=batch, repeat=repeat) for batch in TTFT_S for repeat in (0, 1)]
    matrix = a_matrix(*cells, name="batches", swept=("engine.max_num_seqs", "repeat"))
    store = SweepStore.create(runs_dir, matrix, settings(slo=slo or Slo()), {})
    for cell in cells[:-1]:
        batch = cell.engine.max_num_seqs
        invalid = (batch, cell.repeat) == (8, 0)
        ttft_s = TTFT_S[batch]
        metrics = {ENERGY: 80.0 / batch + cell.repeat, "p99_ttft_ms": 1e3 * ttft_s}
        metrics |= {f"tenant/{name}/p99_ttft_ms": 500.0 * ttft_s for name in tenants}
        record = a_record(cell, "invalid" if invalid else "ok", metrics=metrics)
        window = {"rule": "workflows", "start_s": 0.0, "end_s": 10.0}
        record = record.model_copy(update={"window": window, "simulated": simulated(batch)})
        store.write(record, series_of(chat=ttft_s, **dict.fromkeys(tenants, ttft_s / 2)))
    return store


def output(capsys):
    lines = capsys.readouterr().out.splitlines()
    return "\n".join(lines[:-1]).replace("\u00a0", " "), json.loads(lines[-1])


def test_the_least_energy_that_meets_the_objective_with_its_price(runs_dir, capsys):
    store = a_sweep(runs_dir)
    assert main(["recommend", store.sweep_id, "slo=chat", f"runs_dir={runs_dir}"]) == 0

    text, line = output(capsys)
    assert "SIMULATED: all cells were computed, not measured; repeats resolve the model's differences" in text
    assert "too few repeats" not in text
    assert "chat: 2 seqs: 40.5 J/workflow (2 repeats, 95 % interval 34.1 … 46.9); 100 % within the limits" in text
    assert "TTFT ≤ 400 ms (reached at 99 %: 300 ms): costs 20.0 J/workflow (+98 %); without it 4 seqs" in text
    assert "TPOT ≤ 100 ms: costs nothing" in text
    assert "left out: 2 do not meet the objective, 1 invalid (cells)" in text
    (panel,) = line["panels"]
    assert panel["choice"]["settings"] == {"engine.max_num_seqs": 2}
    assert (panel["cost"], panel["runner_up"]["label"], panel["resolved"]) == (40.5, "1 seq", True)
    assert panel["constraints"][0] == {
        "name": "ttft_ms",
        "limit": 400.0,
        "reached": 300.0,
        "cost": 20.0,
        "without": {"label": "4 seqs", "cost": 20.5, "time_ms": None},
    }
    assert panel["excluded"] == {"invalid": 1, "failed": 0, "unmet": 2, "unmeasured": 0}
    assert (line["sweep"], line["slo"]["name"], line["missing"]) == (store.sweep_id, "chat", 1)


def test_limits_of_ones_own_and_presets_of_ones_own(runs_dir, tmp_path, capsys):
    store = a_sweep(runs_dir)
    assert main(["recommend", str(store.paths.root), "slo=chat", "slo.ttft_ms=700"]) == 0
    assert output(capsys)[1]["panels"][0]["choice"]["label"] == "4 seqs"

    (tmp_path / "mine" / "slo").mkdir(parents=True)
    (tmp_path / "mine" / "slo" / "swift.yaml").write_text("defaults: [none]\nname: swift\nttft_ms: 250\n")
    arguments = ["recommend", str(store.paths.root), "slo=swift", "--config-dir", str(tmp_path / "mine")]
    assert main(arguments) == 0
    line = output(capsys)[1]
    assert (line["slo"]["name"], line["panels"][0]["choice"]["label"]) == ("swift", "1 seq")


def test_the_objective_the_sweep_was_run_with_holds_where_none_is_given(runs_dir, capsys):
    store = a_sweep(runs_dir, Slo(name="own", ttft_ms=250))
    arguments = ["recommend", store.sweep_id, f"runs_dir={runs_dir}"]
    assert main(arguments) == 0
    assert output(capsys)[1]["panels"][0]["choice"]["label"] == "1 seq"

    assert main([*arguments, "slo.tpot_ms=40"]) == 1
    line = output(capsys)[1]
    assert line["slo"] == {"ttft_ms": 250.0, "tpot_ms": 40.0, "attainment_ratio": 0.99}


def test_nothing_that_meets_the_objective_ends_in_1_and_names_the_nearest_miss(runs_dir, capsys):
    store = a_sweep(runs_dir)
    assert main(["recommend", store.sweep_id, "slo.ttft_ms=100", f"runs_dir={runs_dir}"]) == 1
    text, line = output(capsys)
    assert "chat: no setting meets the objective" in text
    assert "nearest miss: 4 seqs: 0 % within the limits, 99 % wanted" in text
    (panel,) = line["panels"]
    assert (panel["choice"], panel["nearest"]["label"], panel["excluded"]["unmet"]) == (None, "4 seqs", 6)


def test_a_tenant_is_judged_by_its_own_requests(runs_dir, capsys):
    store = a_sweep(runs_dir, tenants=["swift"])
    arguments = ["recommend", store.sweep_id, "slo=chat", f"runs_dir={runs_dir}", "workflow=chat"]
    assert main(arguments) == 0
    assert output(capsys)[1]["panels"][0]["choice"]["label"] == "2 seqs"
    assert main([*arguments, "tenant=swift"]) == 0
    (panel,) = output(capsys)[1]["panels"]
    assert panel["choice"]["label"] == "4 seqs"
    assert panel["constraints"][0]["reached"] == 300.0
    assert panel["excluded"]["unmet"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "recommend needs an objective"),
        (["slo=chatty"], "chatty"),
        (["slo.ttft=3"], "unknown option 'slo.ttft'; did you mean slo.ttft_ms?"),
        (["slo.ttft_ms=-3"], "slo.ttft_ms: must be more than 0"),
        (
            ["slo=chat", "metric=output_throughput"],
            "metric=output_throughput was not measured or is not one to minimise",
        ),
        (["slo=chat", "by=engine.max_seqs"], "did you mean engine.max_num_seqs?"),
        (["slo=chat", "workflow=chats"], "no cell of the sweep has workflow=chats; did you mean chat?"),
        (["slo=chat", "tenant=search"], "no ok cell has the tenant 'search'"),
        (["slo=chat", "another"], "recommend takes one sweep"),
    ],
)
def test_wrong_input_is_refused_in_one_line(runs_dir, capsys, arguments, message):
    store = a_sweep(runs_dir)
    assert main(["recommend", store.sweep_id, *arguments, f"runs_dir={runs_dir}"]) == 2
    assert message in output(capsys)[1]["error"]


def test_help_is_a_usage_line(capsys):
    assert main(["recommend", "--help"]) == 0
    text, line = output(capsys)
    assert text.startswith("usage: python -m orchestrator recommend SWEEP slo=NAME [")
    assert line == {"command": "recommend", "usage": text.removeprefix("usage: ")}


def test_simulated_and_measured_cells_are_not_weighed_against_each_other(runs_dir, capsys):
    store = a_sweep(runs_dir, simulated=lambda batch: batch > 1)
    assert main(["recommend", store.sweep_id, "slo=chat", f"runs_dir={runs_dir}"]) == 2
    assert "some cells are simulated and others measured" in output(capsys)[1]["error"]
