"""What the published studies found, asserted on the records of shipped presets; no cell is tuned for it.

Sources: Ifath & Haque (arXiv 2604.09611) for batch, cap and output length; Fernandez et al. (ACL 2025) for output
length; Kim et al. (arXiv 2506.04301) for prefix caching.
"""

from functools import cache

import numpy as np
import pytest

from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.measure.columns import Columns, by_device, gaps
from orchestrator.measure.gpu_energy import gpu_energy
from orchestrator.records.record import CellResult
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell

pytestmark = pytest.mark.slow

WORKFLOWS = ("chain_summary", "copilot", "multi_agent_coding", "composite")


@cache
def _ran(*overrides: str) -> tuple[tuple[Cell, CellResult], ...]:
    expansion = compose(overrides)
    assert expansion is not None
    matrix, _ = build(expansion)
    return tuple((cell, run_cell(cell)) for cell in matrix.cells)


def _by_batch(workflow: str) -> dict[int, float]:
    ran = _ran("-m", f"workflow={workflow}", "engine.max_num_seqs=1,2,4,8,16", "load.num_workflows=50")
    return {cell.engine.max_num_seqs: result.metrics["gpu_energy_j_per_workflow"] for cell, result in ran}


def test_batching_saves_most_for_the_copilot_nothing_for_a_lone_chain_and_something_for_coding_agents():
    copilot, chain, coding = (_by_batch(name) for name in ("copilot", "chain_summary", "multi_agent_coding"))
    assert copilot[16] <= 0.5 * copilot[1]
    assert max(chain.values()) <= 1.1 * min(chain.values())
    assert copilot[16] / copilot[1] < coding[16] / coding[1] < chain[16] / chain[1]


@pytest.mark.parametrize("workflow", ["copilot", "multi_agent_coding"])
def test_energy_is_linear_in_output_length(workflow: str):
    ran = _ran(
        "-m", f"workflow={workflow}", "workflow.output_tokens=100,200,400,600,800", "load.num_workflows=64",
        "engine.max_num_seqs=16",
    )  # fmt: skip
    output_tokens = [cell.workflow.output_tokens for cell, _ in ran]
    energy_j = [result.metrics["gpu_energy_j_per_workflow"] for _, result in ran]
    assert np.corrcoef(output_tokens, energy_j)[0, 1] ** 2 > 0.99
    assert energy_j[-1] > 4 * energy_j[0]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_cap_slows_only_where_it_binds(workflow: str):
    ran = _ran("-m", "+sweep=batch_powercap", f"workflow={workflow}", "engine.max_num_seqs=1,16")
    latency_ms: dict[int, dict[float, float]] = {1: {}, 16: {}}
    for cell, result in ran:
        latency_ms[cell.engine.max_num_seqs][cell.hardware.power_limit_w] = result.metrics["mean_workflow_ms"]
    for by_cap in latency_ms.values():
        lowest, second, highest = min(by_cap), *sorted(by_cap)[-2:]
        assert by_cap[lowest] >= 1.05 * by_cap[highest]
        assert by_cap[second] <= 1.01 * by_cap[highest]


@pytest.mark.parametrize(("workflow", "least", "most"), [("copilot", 0.20, 1.0), ("chat", -0.02, 0.02)])
def test_prefix_caching_saves_energy_where_prompts_share_a_prefix(workflow: str, least: float, most: float):
    ran = _ran("-m", f"workflow={workflow}", "engine.enable_prefix_caching=false,true", "engine.max_num_seqs=16")
    without, cached = (result.metrics["gpu_energy_j_per_workflow"] for _, result in ran)
    assert least <= 1 - cached / without < most


@pytest.mark.parametrize("workflow", [*WORKFLOWS, "chat"])
@pytest.mark.parametrize("load", ["closed", "poisson"])
def test_the_energy_of_the_device_is_that_of_its_requests_and_of_its_idle_time(workflow: str, load: str):
    ran = _ran(f"workflow={workflow}", f"load={load}", "load.num_workflows=50", "engine.max_num_seqs=8")
    ((cell, result),) = ran
    (samples,) = by_device(Columns(result.series["power"]))
    device = gpu_energy(samples, computed=True)
    requests = Columns(result.series["requests"])
    whole = device.span_s
    idle = gaps(requests.floats("submitted_s"), requests.floats("finished_s"), whole)
    of_requests_j = requests.floats("prefill_energy_j").sum() + requests.floats("decode_energy_j").sum()
    of_idle_j = sum(device.integral_j(interval) for interval in idle)
    assert of_requests_j + of_idle_j == pytest.approx(device.integral_j(whole), rel=1e-3)
    assert of_requests_j > 0
    assert of_idle_j >= cell.hardware.idle_power_w * cell.protocol.idle_baseline_s * 0.999


def test_equal_seeds_give_identical_results_and_another_seed_does_not():
    ((cell, _),) = _ran("workflow=composite", "load=poisson", "load.num_workflows=50")
    first, second = run_cell(cell), run_cell(cell)
    assert first.metrics == second.metrics
    assert all(first.series[name].equals(second.series[name]) for name in first.series)
    other = run_cell(cell.model_copy(update={"seed": 1}))
    assert other.metrics != first.metrics
