"""The closed-form estimate depends on load, batch and cap as the simulator does."""

from collections.abc import Callable

import pyarrow.compute as pc
import pytest

from orchestrator.costmodel.estimate import Estimate, estimates
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Matrix, Settings
from orchestrator.spec.workload import workload_of

Composed = Callable[..., tuple[Matrix, Settings]]


def only(composed: Composed, *arguments: str) -> Cell:
    (cell,) = composed(*arguments)[0].cells
    return cell


def estimate_of(composed: Composed, *arguments: str) -> Estimate:
    return estimates([only(composed, *arguments)])[0]


def test_totals_of_a_workload(composed: Composed) -> None:
    workload = workload_of(only(composed, "load.num_workflows=10"))
    assert (workload.n_requests, workload.prompt_tokens, workload.output_tokens) == (10, 10_000, 1_000)
    assert workload.new_prompt_tokens == 1_000  # every prompt is the same text
    assert (workload.width, workload.span_s) == (1.0, 0.0)


def test_a_long_workload_is_scaled_up_from_its_first_workflows(composed: Composed) -> None:
    assert workload_of(only(composed, "load.num_workflows=5000")).output_tokens == 500_000


def test_width_is_output_over_the_critical_path(composed: Composed) -> None:
    chain = workload_of(only(composed, "workflow=chain_summary", "load.num_workflows=2"))
    fan_out = workload_of(only(composed, "workflow=map_reduce_summary", "load.num_workflows=2"))
    assert chain.width == 1.0
    assert fan_out.width > 10


def test_twice_the_work_takes_twice_as_long(composed: Composed) -> None:
    users = "load.users=1"
    once, twice = (
        estimate_of(composed, users, f"load.num_workflows={n}", "engine.enable_prefix_caching=false") for n in (8, 16)
    )
    assert twice.time_s == pytest.approx(2 * once.time_s)
    assert twice.energy_j == pytest.approx(2 * once.energy_j)


def test_a_batch_is_faster_and_cheaper(composed: Composed) -> None:
    work = ("load.num_workflows=64", "load.users=64")
    small, large = (estimate_of(composed, *work, f"engine.max_num_seqs={n}") for n in (1, 32))
    assert large.time_s < small.time_s / 4
    assert large.energy_j < small.energy_j / 2


def test_a_cap_is_slower(composed: Composed) -> None:
    work = ("load.num_workflows=64", "load.users=64", "engine.max_num_seqs=64", "workflow.prompt_tokens=4000")
    low, high = (estimate_of(composed, *work, f"hardware.power_limit_w={cap}") for cap in ("30%", "100%"))
    assert low.time_s > high.time_s


def test_an_open_loop_lasts_as_long_as_its_arrivals(composed: Composed) -> None:
    slow = estimate_of(composed, "load=poisson", "load.request_rate=0.01", "load.num_workflows=4")
    assert slow.time_s == pytest.approx(400)
    assert slow.energy_j > 0.9 * 400 * 50


@pytest.mark.parametrize(
    "arguments",
    [
        ("workflow=copilot", "load.num_workflows=32", "engine.max_num_seqs=8"),
        ("workflow=chain_summary", "load.num_workflows=1"),
        ("workflow=composite", "load.num_workflows=48", "engine.max_num_seqs=16", "hardware.power_limit_w=40%"),
    ],
)
def test_the_estimate_is_near_the_simulation(arguments: tuple[str, ...]) -> None:
    expansion = compose(arguments)
    assert expansion is not None
    (cell,) = build(expansion)[0].cells
    series = run_cell(cell).series
    estimated = estimates([cell])[0]
    requests, power = series["requests"], series["power"]
    took_s = pc.max(requests["finished_s"]).as_py() - pc.min(requests["submitted_s"]).as_py()
    assert estimated.time_s == pytest.approx(took_s, rel=0.3)
    assert estimated.energy_j == pytest.approx(pc.max(power["energy_j"]).as_py(), rel=0.3)
