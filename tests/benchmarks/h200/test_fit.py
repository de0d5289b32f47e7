"""A fit on cells whose truth is known: what it predicts, what it says of itself, what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from benchmarks.h200.fit import main
from benchmarks.h200.fit_cells import Wanted, read_cells
from benchmarks.h200.fit_error import LEFT_OUT, WORKFLOW_LEFT_OUT
from benchmarks.h200.fit_gpu import coefficient_value, fitted_coefficients, fitted_gpu
from benchmarks.h200.fit_page import fit_section
from benchmarks.h200.fit_preset import PRESETS
from benchmarks.h200.fit_proof import HEADING, section
from benchmarks.h200.fit_truth import Truth, measured_sweep, planned, true_gpu
from benchmarks.kept import read_results
from orchestrator.errors import UserError
from orchestrator.spec.hardware import HardwareSpec

SHORT = ("protocol.warmup_s=0", "protocol.max_repetitions=1", "protocol.min_window_s=1")
METRICS = ("median_itl_ms", "output_throughput", "avg_gpu_power_w", "gpu_energy_j_per_output_token")
GPU = "NVIDIA H200"
SIMULATION = Path(__file__).parents[3] / "docs" / "simulation.md"


def cell(batch, workflow="chat", *more, workflows=None):
    n = workflows or max(16, 3 * batch)
    load = ("load=closed", f"load.users={batch}", f"load.num_workflows={n}", f"engine.max_num_seqs={batch}")
    return planned(f"workflow={workflow}", *load, *SHORT, *more)[0]


def small(*batches):
    return [cell(batch, workflows=16) for batch in batches]


def some_cells():
    chats = [cell(batch) for batch in (8, 24, 64, 128)]
    return [*chats, cell(8, "copilot"), cell(16, "copilot", "engine.enable_prefix_caching=false")]


def fitted(folder, root, *arguments):
    out = folder / "fit.json"
    assert main([str(root), "--out", str(out), "--jobs", "1", *arguments]) == 0
    return json.loads(out.read_text())


def coefficients_of(root):
    """Of a fit that nobody judges."""
    cells, _ = read_cells([root], Wanted(gpu=GPU))
    found = fitted_gpu(cells, cells[0].cell.gpu)
    return {one.name: coefficient_value(found.hardware, one.name) for one in fitted_coefficients(cells)}


def error(found, name, metric, kind="mean_absolute"):
    return abs(found["errors"][name][metric][kind])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return measured_sweep(tmp_path_factory.mktemp("measured"), some_cells(), Truth())


@pytest.fixture(scope="module")
def known(measured, tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("known"), measured)


@pytest.mark.slow
def test_a_cell_that_the_fit_did_not_see_is_predicted_and_better_than_unfitted(known):
    assert known["n_cells"] == known["n_configurations"] == known["n_cells_with_power"] == 6
    for metric in METRICS:
        assert error(known, LEFT_OUT, metric, "worst") < 0.03
        assert error(known, WORKFLOW_LEFT_OUT, metric, "worst") < 0.1
        for unfitted in ("present", "h100"):
            assert 4 * error(known, LEFT_OUT, metric) < error(known, unfitted, metric), (unfitted, metric)


@pytest.mark.slow
def test_a_coefficient_that_the_cells_tell_is_found_and_one_they_do_not_stays_assumed(known):
    truth = true_gpu(cell(8), Truth()).calibration
    well = {name: one for name, one in known["coefficients"].items() if one["determined"] == "well"}
    assert {"flop_efficiency", "kv_bandwidth_efficiency", "memory_power_w", "compute_power_w"} <= well.keys()
    for name, one in well.items():
        assert one["value"] == pytest.approx(getattr(truth, name), rel=0.06), name
        assert abs(one["value"] - getattr(truth, name)) < 3 * one["standard_error"], name
    exponent = known["coefficients"]["roofline_exponent"]
    assert exponent["determined"] == "hardly"
    assert exponent["value"] == pytest.approx(exponent["assumed"], rel=0.1)
    assert known["held"]["expert_flop_efficiency"] == 0.355
    assert known["idle_power_w"] == {"value": pytest.approx(100, rel=0.01), "assumed": 77, "cells": 6}


@pytest.mark.slow
def test_what_coefficients_give_together_is_known_better_than_each(known):
    decode = known["steps"][0]["time_ms"]
    assert decode["standard_error"] / decode["fitted"] < 0.005
    weights = known["coefficients"]["weight_bandwidth_efficiency"]
    assert weights["standard_error"] / weights["value"] > 0.05
    assert max(abs(one["misfit"]["decode_time"]) for one in known["cells"]) < 0.01


@pytest.mark.slow
def test_the_section_tells_coefficients_errors_and_what_was_held(known):
    text = fit_section(known)
    one = known["coefficients"]["flop_efficiency"]
    assert f"| `flop_efficiency` | 1 | {one['value']:.4g} ± {one['standard_error']:.2g} | well |" in text
    assert text.count("| chat, max_num_seqs=") == 4
    assert "`expert_flop_efficiency` 0.355" in text
    assert known["sweeps"][0] in text


@pytest.mark.slow
def test_who_was_scheduled_need_not_be_kept(measured, tmp_path):
    compact = measured_sweep(tmp_path, some_cells(), Truth(keep=("iterations", "power", "requests")))
    told = coefficients_of(measured)
    for name, value in coefficients_of(compact).items():
        assert value == pytest.approx(told[name], rel=0.02), name


@pytest.mark.exhaustive
def test_a_gpu_of_another_form_is_missed_by_more(known, tmp_path):
    strange = fitted(tmp_path, measured_sweep(tmp_path, some_cells(), Truth(strange=True)))
    metric = "gpu_energy_j_per_output_token"
    assert error(strange, LEFT_OUT, metric) > 3 * error(known, LEFT_OUT, metric)
    assert error(strange, LEFT_OUT, metric) < error(strange, "present", "avg_gpu_power_w")


def test_without_power_only_times_are_fitted_and_repeats_are_left_out_together(tmp_path):
    cells = [cell(batch, "chat", f"repeat={n}", workflows=16) for batch in (8, 16) for n in (0, 1)]
    root = measured_sweep(tmp_path, cells, Truth(keep=("iterations", "requests")))
    found = fitted(tmp_path, root)
    assert (found["n_cells"], found["n_configurations"], found["n_cells_with_power"]) == (4, 2, 0)
    assert all(LEFT_OUT in one["errors"] and WORKFLOW_LEFT_OUT not in one["errors"] for one in found["cells"])
    assert "memory_power_w" not in found["coefficients"]
    assert found["held"]["memory_power_w"] == 520
    assert found["idle_power_w"]["value"] == 77
    assert "held: no cell told it" in fit_section(found)


def test_the_written_preset_is_what_was_judged(tmp_path):
    preset = tmp_path / "h200_sxm.yaml"
    preset.write_text((PRESETS / "h200_sxm.yaml").read_text())
    root = measured_sweep(tmp_path, small(16), Truth())
    found = fitted(tmp_path, root, "--preset", str(preset), "--write")
    written = HardwareSpec.model_validate(yaml.safe_load(preset.read_text()))
    assert written.model_dump(mode="json") == found["hardware"]
    text = preset.read_text()
    assert found["calibration_yaml"] in text
    assert "not measured" not in text
    assert "on 1 cells measured with vLLM 0.0.0" in text
    assert max(map(len, text.splitlines())) <= 120
    assert "none could be left out" in fit_section(found)
    again = fitted(tmp_path, root, "--preset", str(preset))
    assert again["coefficients"] == found["coefficients"]  # assumed is what the cells were planned with
    assert "flop_efficiency" in again["preset_differs_from_assumed"]


def test_an_invalid_cell_counts_only_where_asked_for(tmp_path):
    root = measured_sweep(tmp_path, small(8, 16), Truth(), invalid={1: "window_too_short"})
    found, left_out = read_cells([root], Wanted(gpu=GPU))
    assert len(found) == 1
    assert [one.why for one in left_out] == ["invalid: window_too_short"]
    assert len(read_cells([root], Wanted(gpu=GPU, with_invalid=True))[0]) == 2


@pytest.fixture(scope="module")
def one_cell(tmp_path_factory):
    return measured_sweep(tmp_path_factory.mktemp("one"), small(8), Truth(noise_ratio=0))


def test_a_simulated_cell_counts_only_in_a_rehearsal(one_cell, tmp_path):
    root = shutil.copytree(one_cell, tmp_path / one_cell.name)
    (path,) = root.glob("cells/*/record.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "simulated": True}))
    with pytest.raises(UserError, match="1 simulated, not measured"):
        read_cells([root], Wanted(gpu=GPU))
    assert len(read_cells([root], Wanted(gpu=GPU, with_simulated=True))[0]) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hardware": {"power_limit_w": 400}}, "under a power limit or clock of its own"),
        ({"roles": {"coder": "another"}}, "on several engines"),
    ],
)
def test_a_cell_of_another_kind_is_left_out(one_cell, tmp_path, change, why):
    root = shutil.copytree(one_cell, tmp_path / one_cell.name)
    (path,) = root.glob("cells/*/record.json")
    record = json.loads(path.read_text())
    plain = record["cell"]
    if "roles" in change:
        plain["roles"] = {"coder": {"model": plain["model"], "engine": {**plain["engine"], "max_num_seqs": 4}}}
    else:
        plain["hardware"].update(change["hardware"])
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=why):
        read_cells([root], Wanted(gpu=GPU))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{nowhere}"], "is no sweep"),
        (["{root}", "--preset", "{nowhere}/x.yaml"], "cannot be read"),
        (["{root}", "--preset", str(PRESETS / "cpu.yaml")], "is no preset of a GPU"),
        (["{root}", "--preset", str(PRESETS / "b200_sxm.yaml")], "1 on NVIDIA H200, not on NVIDIA B200"),
        (["{root}", "--jobs", "0"], "--jobs must be at least 1"),
        (["{root}", "--with-simulated", "--write"], "not written from simulated cells"),
    ],
)
def test_wrong_input_is_told_in_one_line(one_cell, tmp_path, capsys, arguments, told):
    filled = [one.format(root=one_cell, nowhere=tmp_path / "nowhere") for one in arguments]
    assert main([*filled, "--out", str(tmp_path / "fit.json")]) == 2
    line = capsys.readouterr().err
    assert told in line
    assert line.count("\n") == 1
    assert not (tmp_path / "fit.json").exists()


def test_the_page_holds_the_kept_proof():
    kept = read_results("h200_fit_proof")
    assert f"## {HEADING}\n\n{section(kept)}" in SIMULATION.read_text()
