"""An objective from the command line to the record, the table and a resume; the mix is the documentation's."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.measure.slo import objective_metrics
from orchestrator.measure.window import Window
from orchestrator.spec.settings import Slo
from orchestrator.store.sweep import SweepStore

PAGE = Path(__file__).parent.parent.parent / "docs" / "objectives.md"
MIX = (
    *("--config-dir", "mine", "workflow=chat_and_code", "load.num_workflows=40", "hardware=h100_sxm"),
    *("executor=inline", "tracking=none", "protocol.min_window_s=0"),
)


@pytest.mark.slow
def test_a_mix_is_scored_again_and_resumed(capsys, tmp_path, monkeypatch):
    preset = tmp_path / "mine" / "workflow" / "chat_and_code.yaml"
    preset.parent.mkdir(parents=True)
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    preset.write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main([*MIX, "slo=chat", "tariff.carbon_g_per_kwh=380"]) == 0
    (root,) = (tmp_path / "runs").iterdir()
    store = SweepStore.open(root)
    (record,) = store.records()
    metrics = record.metrics

    assert metrics["carbon_g_co2e"] == pytest.approx(metrics["total_gpu_energy_j"] / 3.6e6 * 380)
    assert record.provenance["slo"] == {"name": "chat", "ttft_ms": 400, "tpot_ms": 100, "attainment_ratio": 0.99}
    tenants = [f"tenant/{name}" for name in ("chat", "code")]
    for key in ("request_goodput", "num_requests", "num_workflows"):
        assert sum(metrics[f"{tenant}/{key}"] for tenant in tenants) == pytest.approx(metrics[key])
    energy_j = [metrics[f"{t}/num_workflows"] * metrics[f"{t}/attributed_energy_j_per_workflow"] for t in tenants]
    attributed_j = metrics["prefill_energy_j"] + metrics["decode_energy_j"]
    assert sum(energy_j) == pytest.approx(attributed_j, rel=1e-6)
    (row,) = csv.DictReader((root / "results.csv").read_text().splitlines())
    assert float(row["tenant/code/p99_ttft_ms"]) == pytest.approx(metrics["tenant/code/p99_ttft_ms"])

    series = {name: store.read_series(record, name) for name in ("requests", "steps")}
    again = objective_metrics(series, Window(**record.window), Slo(ttft_ms=400, tpot_ms=100))
    assert again.items() <= metrics.items()
    strict = objective_metrics(series, Window(**record.window), Slo(ttft_ms=30))
    assert strict["request_goodput"] < again["request_goodput"]

    shutil.rmtree(store.paths.cell(record.cell_id).folder)
    assert main([f"resume={root.name}", "executor=inline", "tracking=none", "slo.workflow_ms=null"]) == 0
    (resumed,) = store.records()
    assert resumed.metrics == metrics
    capsys.readouterr()
    assert main([f"resume={root.name}", "executor=inline", "tracking=none", "slo.ttft_ms=30"]) == 0
    warning = "scored with chat: TTFT ≤ 400 ms, TPOT ≤ 100 ms for 99 %; new cells with TTFT ≤ 30 ms"
    assert warning in capsys.readouterr().err
