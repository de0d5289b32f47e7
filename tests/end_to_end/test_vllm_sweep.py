"""A sweep on vLLM itself, on the CPU: five workflows, two engines, both executors, from the command line to MLflow."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from .command import Ended, cells_in_mlflow, end, start, sweep_folder

pytest.importorskip("vllm")
pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1200)]

SMALL = {
    "chain_small": "{defaults: [chain_summary], documents: [0], output_tokens: 6}",
    "copilot_small": "{defaults: [copilot], output_tokens: 16}",
    "coding_small": "{defaults: [multi_agent_coding], branches: 4, rounds: 1, output_tokens: 12}",
    "composite_small": (
        "{defaults: [composite], tenants: {chat: {weight: 1, workflow: {output_tokens: {mean: 20, max: 40}}}, "
        "map_reduce: {weight: 1, workflow: {output_tokens: 6}}}}"
    ),
    "chat_small": "{defaults: [chat], prompt_tokens: {mean: 100, max: 300}, output_tokens: {mean: 20, max: 40}}",
}
"""The shipped workflows with fewer and shorter answers."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vllm_sweep")


@pytest.fixture(scope="module")
def ended(folder: Path) -> Ended:
    """20 cells over 2 engine keys."""
    presets = folder / "mine" / "workflow"
    presets.mkdir(parents=True)
    for name, text in SMALL.items():
        (presets / f"{name}.yaml").write_text(text + "\n")
    command = start(
        folder,
        "-m",
        "--config-dir=mine",
        "engine=vllm",
        "model=tiny_llama",
        "hardware=cpu",
        f"workflow={','.join(SMALL)}",
        "workflow.executor=ray,local",
        "engine.max_num_seqs=4,16",
        "load.users=2",
        "load.num_workflows=3",
        "protocol.min_window_s=0",
        "protocol.idle_baseline_s=0.1",
        "protocol.warmup_s=0",
        "protocol.max_send_delay_ms=5000",
        env={"VLLM_CPU_KVCACHE_SPACE": "1"},
    )
    return end(command, timeout_s=1000)


@pytest.fixture(scope="module")
def cells(ended: Ended, folder: Path) -> pd.DataFrame:
    """A row a cell."""
    assert ended.code == 0, ended.err
    return pd.read_csv(sweep_folder(folder) / "results.csv")


def _series(folder: Path, cell_id: str, name: str) -> pd.DataFrame:
    return pq.read_table(sweep_folder(folder) / "cells" / cell_id / f"{name}.parquet").to_pandas()


def test_twenty_cells_over_two_engine_keys_are_two_engine_starts(ended: Ended, cells: pd.DataFrame, folder: Path):
    assert ended.line["ok"] == len(cells) == 20
    assert cells["engine_key"].nunique() == 2
    assert ended.line["engine_starts"] == 2
    lanes = [json.loads(path.read_text()) for path in (sweep_folder(folder) / "lanes").glob("*.json")]
    assert sorted(lane["n_cells"] for lane in lanes) == [10, 10]
    assert set(cells_in_mlflow(folder)) == set(cells["cell_id"])


def test_both_executors_issue_the_identical_requests(cells: pd.DataFrame, folder: Path):
    for _, alike in cells.groupby(["workflow.kind", "engine.max_num_seqs"]):
        asked = {row["workflow.executor"]: _asked(folder, row["cell_id"]) for _, row in alike.iterrows()}
        assert set(asked) == {"ray", "local"}
        pd.testing.assert_frame_equal(asked["ray"], asked["local"])


def _asked(folder: Path, cell_id: str) -> pd.DataFrame:
    columns = ["request_id", "workflow_id", "tenant", "step", "role", "prompt_tokens", "output_tokens"]
    return _series(folder, cell_id, "requests")[columns].sort_values("request_id", ignore_index=True)


def test_every_token_was_scheduled_computed_and_seen_to_arrive(cells: pd.DataFrame, folder: Path):
    for cell_id in cells["cell_id"]:
        requests, scheduled = _series(folder, cell_id, "requests"), _series(folder, cell_id, "scheduled")
        tokens, iterations = _series(folder, cell_id, "tokens"), _series(folder, cell_id, "iterations")
        computed = scheduled.groupby("request_id")[["prefill_tokens", "decode_tokens"]].sum()
        of = requests.set_index("request_id").sort_index()
        assert (computed["decode_tokens"] == of["output_tokens"]).all()
        assert (computed["prefill_tokens"] == of["prompt_tokens"] - of["cached_tokens"]).all()
        assert (tokens.groupby("request_id").size() == of["output_tokens"]).all()
        assert iterations["decode_tokens"].sum() == of["output_tokens"].sum()
        assert (of["submitted_s"] <= of["first_token_s"]).all()
        assert (of["first_token_s"] <= of["finished_s"]).all()


def test_the_copilots_prefix_is_found_in_the_cache_and_only_within_its_cell(cells: pd.DataFrame, folder: Path):
    copilot = cells[cells["workflow.kind"] == "copilot"]
    assert len(copilot) == 4
    for cell_id in copilot["cell_id"]:
        cached = sorted(_series(folder, cell_id, "requests")["cached_tokens"])
        assert cached[0] == 0  # the cell before left nothing; which came first is not known of two of one iteration
        assert all(n > 5000 for n in cached[2:])  # 5,107 of the prompt's tokens are the same in all


def test_energy_is_missing_and_said_to_be(cells: pd.DataFrame, ended: Ended, folder: Path):
    measured = [name for name in cells.columns if "energy" in name or "power_w" in name]
    assert cells[[name for name in measured if not name.startswith(("hardware.", "protocol."))]].isna().all().all()
    report = (sweep_folder(folder) / "report.html").read_text()
    assert "<dd>not measured</dd>" in report
    assert "SIMULATED" not in report
    record: dict[str, Any] = json.loads(next(sweep_folder(folder).glob("cells/*/record.json")).read_text())
    assert record["simulated"] is False
    assert record["provenance"]["engine"] == "vllm"
    assert ended.line["engine"] == "vllm"
