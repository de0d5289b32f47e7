"""Simulated cells seen through a sensor: nothing is flagged that is sound, and energies are as sure as they say."""

import pytest

from benchmarks.played_sensor import played_power
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.measure.summary import summarise
from orchestrator.runner.local import run_cell
from orchestrator.spec.protocol import CollectorsSpec

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("workflow", "load", "batch"),
    [
        ("chat", "poisson", 16),
        ("chat", "closed", 1),
        ("copilot", "poisson", 16),
        ("composite", "closed", 16),
        ("map_reduce_summary", "closed", 16),
    ],
)
def test_a_sound_cell_stays_sound_when_its_power_is_sampled(workflow: str, load: str, batch: int):
    options = (f"workflow={workflow}", f"load={load}", f"engine.max_num_seqs={batch}", "load.num_workflows=25")
    expansion = compose((*options, "engine=simulated", "hardware=h100_sxm", "+engine.stepping=step_by_step"))
    assert expansion is not None
    (cell,) = build(expansion)[0].cells
    exact = run_cell(cell)
    power = played_power(
        exact.series["iterations"],
        idle_power_w=cell.gpu.idle_power_w,
        n_gpus=1,
        end_s=max(exact.series["power"].column("t_s").to_pylist()) + 0.5,
    )
    sampled = cell.model_copy(update={"collectors": CollectorsSpec(power="nvml")})
    found = summarise(sampled, {**exact.series, "power": power})

    truth_j = exact.metrics["total_gpu_energy_j"]
    assert found.reasons == ()
    assert found.energy_source == "counter"
    assert abs(found.metrics["total_gpu_energy_j"] - truth_j) <= found.metrics["energy_uncertainty_j"]
    assert found.metrics["total_gpu_energy_j"] == pytest.approx(truth_j, rel=0.01)
    assert found.metrics["integral_gpu_energy_j"] == pytest.approx(truth_j, rel=0.02)
    assert found.metrics["idle_gpu_power_w"] == pytest.approx(cell.gpu.idle_power_w, rel=0.05)
