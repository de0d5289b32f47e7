"""A cell in this process on fake GPUs: sampled by another process, with its limits set and restored."""

from driven_cells import a_driven_cell

from collectors.control import acquire
from orchestrator.runner.local import run_cell


def test_a_cell_is_sampled_and_set_as_on_a_lane(machine):
    result = run_cell(a_driven_cell(power_limit_w=300))
    assert {"power", "requests", "iterations"} <= result.series.keys()
    power = result.series["power"].to_pydict()  # the limit is read twice a second
    assert set(power["device"]) == {machine[0].uuid}
    assert {limit for t_s, limit in zip(power["t_s"], power["power_limit_w"], strict=True) if t_s > 0.7} == {300}
    assert power["t_s"][0] < 0
    assert result.phases[0].name == "limits"
    (control,) = result.control.values()
    assert control["enforced_power_limit_w"] == 300
    assert result.metrics["total_gpu_energy_j"] > 0
    processes = result.series["gpu_processes"].to_pydict()
    assert set(processes["own"]) == {True}
    assert machine[0].power_limit_w == 700


def test_a_cell_is_invalid_if_another_process_sets_its_gpus(machine):
    with acquire([machine[0].uuid]):
        result = run_cell(a_driven_cell())
    assert (result.status, result.control) == ("invalid", None)
    assert "gpus_set_by_others" in [reason.code for reason in result.reasons]


def test_a_cell_that_samples_and_sets_nothing_makes_no_calls(machine):
    result = run_cell(a_driven_cell(collectors={"power": "none"}))
    assert result.control is None
    assert "power" not in result.series
    assert machine.set_calls == ()
