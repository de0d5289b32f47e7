"""Every sweep that ships runs, and shows what the study it follows found, as far as the simulator shows it.

Only directions and orders of magnitude are asserted; where simulation and publication differ, the sweep's own comment
and docs/sweeps.md say so. Those of `batch_powercap` are in test_physics.py, of `scheduling` in test_scheduling.py.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import conf
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.runner.local import run_cell

FOLDER = Path(conf.__file__).parent / "sweep"
SWEEPS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
ELSEWHERE = dict.fromkeys(("batch_powercap", "scheduling"), pytest.mark.exhaustive)
"""Most of their cells run in files of their own."""
PAGE = (Path(conf.__file__).parent.parent / "docs" / "sweeps.md").read_text()

ENERGY = "gpu_energy_j_per_request"
TOKEN_ENERGY = "gpu_energy_j_per_output_token"
TTFT_OBJECTIVE_MS = {"S": 250, "M": 400, "L": 2000}


@cache
def ran(sweep: str) -> pd.DataFrame:
    """A row a cell: what was swept, by its last name, and what was measured."""
    expansion = compose((f"+sweep={sweep}",))
    assert expansion is not None
    matrix, _ = build(expansion)
    rows = []
    for cell in matrix.cells:
        plain = pd.json_normalize(cell.model_dump(mode="json")).iloc[0]
        result = run_cell(cell)
        rows.append({**{key: plain.get(key) for key in matrix.swept}, "status": result.status, **result.metrics})
    return pd.DataFrame(rows)


def table(sweep: str, metric: str, *, rows: str, columns: str) -> pd.DataFrame:
    """Means of a metric over two of the swept keys."""
    return ran(sweep).pivot_table(index=rows, columns=columns, values=metric)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_sweep_says_which_question_it_asks_and_is_on_the_page(sweep: str):
    lines = (FOLDER / f"{sweep}.yaml").read_text().splitlines()
    assert any(line.startswith("question: ") and line.endswith("?") for line in lines)
    assert any(line.startswith("#") and "After " in line for line in lines)
    assert f"`{sweep}`" in PAGE


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [pytest.param(name, marks=ELSEWHERE.get(name, ())) for name in SWEEPS])
def test_every_cell_of_a_sweep_counts(sweep: str):
    cells = ran(sweep)
    assert set(cells["status"]) == {"ok"}
    assert len(cells) <= 120


@pytest.mark.slow
def test_output_length_energy_is_linear():
    """Ifath & Haque, arXiv 2604.09611; Fernandez et al., ACL 2025."""
    by_length = table(
        "output_length", "gpu_energy_j_per_workflow", rows="workflow.output_tokens", columns="workflow.kind"
    )
    assert set(by_length) == {"chain_summary", "map_reduce_summary", "copilot", "multi_agent_coding"}
    for workflow in by_length:
        energy_j = by_length[workflow]
        assert np.corrcoef(by_length.index, energy_j)[0, 1] ** 2 > 0.99
        assert energy_j.is_monotonic_increasing


@pytest.mark.slow
def test_prefix_caching_helps_agents_and_shared_prompts_but_not_chat():
    """Kim et al., arXiv 2506.04301: 5.62 times the throughput for agents, 1.03 times for chat."""
    sweep = {"rows": "workflow.kind", "columns": "engine.enable_prefix_caching"}
    throughput = table("prefix_caching", "workflow_throughput", **sweep)
    gain = throughput[True] / throughput[False]
    assert gain["multi_agent_coding"] > 1.5
    assert gain["copilot"] > 1.3
    assert gain["chat"] < 1.03
    assert gain["chain_summary"] < 1.03
    energy_j = table("prefix_caching", "gpu_energy_j_per_workflow", **sweep)
    saved = 1 - energy_j[True] / energy_j[False]
    assert saved["multi_agent_coding"] > saved["copilot"] > 0.25
    assert abs(saved["chat"]) < 0.02


@pytest.mark.slow
def test_concurrency_divides_the_energy_of_a_token_down_to_a_knee():
    """ML.ENERGY v3: 3 to 10 times less, for Llama-3.1-8B on an H100 0.455, 0.0951 and 0.0702 J at 8, 128 and 512."""
    cells = ran("concurrency").set_index("engine.max_num_seqs")
    token_j = cells[TOKEN_ENERGY]
    assert 3 < token_j[8] / token_j.min() < 10
    assert [token_j[n] for n in (8, 128, 512)] == pytest.approx([0.455, 0.0951, 0.0702], rel=0.2)
    assert token_j[8] / token_j[128] > 3 * token_j[128] / token_j[768]  # the knee: most is gained before it
    assert cells["median_itl_ms"].is_monotonic_increasing


@pytest.mark.slow
def test_tensor_parallelism_buys_latency_with_energy_at_every_batch():
    """Fernandez et al., ACL 2025: 2 and 4 GPUs latency -40 and -61 %, energy +29 and +55 %."""
    sweep = {"rows": "load.users", "columns": "engine.tensor_parallel_size"}
    latency_ms, energy_j = (table("tensor_parallel", metric, **sweep) for metric in ("mean_e2el_ms", ENERGY))
    assert list(latency_ms) == [1, 2, 4]
    assert len(latency_ms) == 4
    for by_gpus, cost_j in zip(latency_ms.to_numpy(), energy_j.to_numpy(), strict=True):
        assert by_gpus[0] > 1.2 * by_gpus[1] > 1.2 * 1.2 * by_gpus[2]
        assert cost_j[0] < cost_j[1] / 1.05 < cost_j[2] / 1.05**2


@pytest.mark.slow
def test_a_clock_lock_saves_where_a_cap_is_inert():
    """Ma et al., arXiv 2605.11999: caps do not bind in light decode; a lock saves up to 32 % at little cost."""
    cells = ran("cap_vs_clock").fillna({"hardware.sm_clock_mhz": 0}).set_index(
        ["load.users", "hardware.power_limit_w", "hardware.sm_clock_mhz"]
    )  # fmt: skip
    free = cells.loc[1, 700, 0]
    for cap_w in (500, 600):
        capped = cells.loc[1, cap_w, 0]
        assert capped["cap_bound_ratio"] == 0
        assert capped[TOKEN_ENERGY] == free[TOKEN_ENERGY]
    for lock_mhz in (1380, 1080):
        locked = cells.loc[1, 700, lock_mhz]
        assert locked[TOKEN_ENERGY] < 0.9 * free[TOKEN_ENERGY]
        assert locked["mean_itl_ms"] < 1.03 * free["mean_itl_ms"]
    heavy = cells.loc[256, 500, 0]  # the scope of the claim: a large batch draws more
    assert heavy["cap_bound_ratio"] > 0.9
    assert heavy[TOKEN_ENERGY] < 0.9 * cells.loc[256, 700, 0][TOKEN_ENERGY]


@pytest.mark.slow
def test_energy_is_bilinear_in_prompt_and_output_tokens():
    """Wilkins et al., arXiv 2407.04014: no intercept, uncentered R2 above 0.96 for every model."""
    cells = ran("token_grid")
    prompt, output = (cells[f"workflow.{name}_tokens.tokens"].astype(float) for name in ("prompt", "output"))
    terms = np.column_stack([prompt, output, prompt * output])
    coefficients, *_ = np.linalg.lstsq(terms, cells[ENERGY])
    residual_j = cells[ENERGY] - terms @ coefficients
    assert len(cells) == 81
    assert (coefficients > 0).all()
    assert coefficients[1] > 5 * coefficients[0]  # an output token costs more than a prompt token
    assert 1 - (residual_j**2).sum() / (cells[ENERGY] ** 2).sum() > 0.96


@pytest.mark.slow
def test_length_classes_are_ordered_and_short_ones_need_the_least_hardware():
    """DynamoLLM, arXiv 2408.00741: SS is best at the fewest GPUs and the lowest clock, longer classes need more."""
    configuration = ["engine.tensor_parallel_size", "hardware.sm_clock_mhz"]
    cells = ran("length_classes").set_index(["workflow.length_class", *configuration])
    for _, of_classes in cells.groupby(level=configuration):
        at = of_classes.droplevel(configuration)
        for size in "SML":
            assert at[ENERGY][f"{size}S"] < at[ENERGY][f"{size}M"] < at[ENERGY][f"{size}L"]
            assert at[TOKEN_ENERGY][f"S{size}"] < at[TOKEN_ENERGY][f"M{size}"] < at[TOKEN_ENERGY][f"L{size}"]
    objective_ms = cells.index.get_level_values(0).map(lambda name: TTFT_OBJECTIVE_MS[name[0]])
    met = cells[(cells["p90_ttft_ms"] < objective_ms) & (cells["p90_tpot_ms"] < 100)]
    assert met.loc["SS"][ENERGY].idxmin() == (2, 800)
    assert met.loc["LS"][ENERGY].idxmin() > (2, 800)
    assert set(met.index.get_level_values(0)) == set(cells.index.get_level_values(0))


@pytest.mark.slow
def test_latency_has_a_knee_and_energy_per_request_falls_with_load():
    """Kim et al., arXiv 2506.04301 (saturation); Delavande et al., arXiv 2601.22362 (arrival shaping saves energy)."""
    sweep = {"rows": "load.request_rate", "columns": "load.burstiness"}
    ttft_ms, energy_j = (table("request_rate", metric, **sweep) for metric in ("mean_ttft_ms", ENERGY))
    assert ttft_ms[1.0].loc[6] < 2 * ttft_ms[1.0].loc[1]
    assert ttft_ms[1.0].loc[10] > 10 * ttft_ms[1.0].loc[6]
    assert energy_j[1.0].is_monotonic_decreasing
    assert energy_j[1.0].loc[1] > 3 * energy_j[1.0].loc[8]
    served = table("request_rate", "request_throughput", **sweep)[1.0]
    assert served.loc[4] == pytest.approx(4, rel=0.1)
    assert served.loc[12] < 0.8 * 12
    repeats = ran("request_rate").query("`load.request_rate` == 1").set_index(["repeat", "load.burstiness"])
    bursty, steady = (repeats.xs(shape, level=1) for shape in (0.25, 1.0))
    assert (bursty["mean_ttft_ms"] > steady["mean_ttft_ms"]).all()
    assert (bursty[ENERGY] < steady[ENERGY]).all()


@pytest.mark.slow
def test_the_reference_divides_the_energy_of_a_token_at_the_price_of_its_gap():
    """ML.ENERGY benchmark, arXiv 2505.06371: a full batch of any size, each at its own."""
    cells = ran("reference_8b").set_index("engine.max_num_seqs")
    assert list(cells.index) == [8, 16, 32, 64, 128, 256, 512]
    assert cells[TOKEN_ENERGY].loc[:256].is_monotonic_decreasing  # 512 do not fit the 40 GB that auto finds here
    assert cells["median_itl_ms"].is_monotonic_increasing
    assert cells["mean_num_running"].loc[64] == pytest.approx(64, rel=0.02)


@pytest.mark.slow
def test_batching_saves_on_a_large_gpu_for_every_workflow():
    """Ifath & Haque, arXiv 2604.09611: most where prompts are shared; here there are users to fill the batch."""
    token_j = table("batch_h200", TOKEN_ENERGY, rows="engine.max_num_seqs", columns="workflow.kind")
    assert set(token_j) == {"chain_summary", "copilot", "multi_agent_coding", "composite"}
    for workflow in token_j:
        assert token_j[workflow].is_monotonic_decreasing
    assert token_j["copilot"].loc[4] > 2.5 * token_j["copilot"].loc[64]
