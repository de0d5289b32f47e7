"""A fit on cells whose truth is known: what it predicts, what it says of itself, what it refuses."""

import json
from pathlib import Path

import pytest
import yaml
from measured_truth import POWERS, TIMES, cell_of, closed, measured_sweep, truth_of

from benchmarks.h200.fit import main
from benchmarks.h200.fit_error import LEFT_OUT
from benchmarks.h200.fit_page import fit_section
from benchmarks.h200.fit_preset import PRESETS
from orchestrator.hardware_spec import HardwareSpec

CELLS = (
    *(closed(batch) for batch in (8, 24, 64, 128)),
    closed(8, "copilot"),
    closed(16, "copilot", "engine.enable_prefix_caching=false"),
)
METRICS = ("median_itl_ms", "output_throughput", "avg_gpu_power_w", "gpu_energy_j_per_output_token")


def sweep(folder, *, cells=CELLS, **options):
    planned = [cell_of(*overrides) for overrides in cells]
    return measured_sweep(folder, planned, truth_of(planned[0], {**TIMES, **POWERS}), **options)


def fitted(folder, root, *arguments):
    out = folder / "fit.json"
    assert main([str(root), "--out", str(out), "--jobs", "1", *arguments]) == 0
    return json.loads(out.read_text())


def worst(found, name):
    errors = found["errors"][name]
    return {metric: abs(errors[metric]["worst"]) for metric in METRICS}


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    return fitted(folder, sweep(folder))


def test_a_cell_that_the_fit_did_not_see_is_predicted_and_better_than_unfitted(known):
    assert known["n_cells"] == known["n_configurations"] == known["n_cells_with_power"] == len(CELLS)
    assert max(worst(known, LEFT_OUT).values()) < 0.03
    for unfitted in ("present", "h100"):
        for metric in METRICS:
            left_out, other = (known["errors"][name][metric]["mean_absolute"] for name in (LEFT_OUT, unfitted))
            assert 4 * left_out < other, (unfitted, metric)


def test_a_coefficient_that_the_cells_tell_is_found_and_one_they_do_not_stays_assumed(known):
    truth = truth_of(cell_of(*CELLS[0]), {**TIMES, **POWERS}).calibration
    well = {name: one for name, one in known["coefficients"].items() if one["determined"] == "well"}
    assert {"flop_efficiency", "kv_bandwidth_efficiency", "memory_power_w", "compute_power_w"} <= well.keys()
    for name, one in well.items():
        assert one["value"] == pytest.approx(getattr(truth, name), rel=0.06), name
        assert abs(one["value"] - getattr(truth, name)) < 3 * one["standard_error"], name
    exponent = known["coefficients"]["roofline_exponent"]
    assert exponent["determined"] == "hardly"
    assert exponent["value"] == pytest.approx(exponent["assumed"], rel=0.1)
    assert known["held"]["expert_flop_efficiency"] == 0.355
    assert known["idle_power_w"] == {"value": pytest.approx(100, rel=0.01), "assumed": 77, "cells": len(CELLS)}


def test_a_gpu_of_another_form_is_missed_by_more(known, tmp_path):
    strange = fitted(tmp_path, sweep(tmp_path, strange=True))
    energies = [found["errors"][LEFT_OUT]["gpu_energy_j_per_output_token"] for found in (known, strange)]
    assert energies[1]["mean_absolute"] > 3 * energies[0]["mean_absolute"]
    assert energies[1]["mean_absolute"] < strange["errors"]["present"]["avg_gpu_power_w"]["mean_absolute"]


def test_who_was_scheduled_need_not_be_kept(known, tmp_path):
    compact = fitted(tmp_path, sweep(tmp_path, keep=("iterations", "power", "requests")))
    assert max(worst(compact, LEFT_OUT).values()) < 0.03
    for name, one in known["coefficients"].items():
        assert compact["coefficients"][name]["value"] == pytest.approx(one["value"], rel=0.03), name


def test_without_power_only_times_are_fitted(known, tmp_path):
    root = sweep(tmp_path, cells=CELLS[:3], keep=("iterations", "requests"))
    found = fitted(tmp_path, root)
    assert found["n_cells_with_power"] == 0
    assert "memory_power_w" not in found["coefficients"]
    assert found["held"]["memory_power_w"] == 520
    assert found["idle_power_w"]["value"] == 77
    assert found["errors"][LEFT_OUT]["output_throughput"]["mean_absolute"] < 0.03


def test_repeats_are_left_out_together(tmp_path):
    root = sweep(tmp_path, cells=[(*one, f"repeat={n}") for one in CELLS[:2] for n in (0, 1)])
    found = fitted(tmp_path, root)
    assert (found["n_cells"], found["n_configurations"]) == (4, 2)
    assert all(LEFT_OUT in cell["errors"] for cell in found["cells"])


def test_the_written_preset_is_what_was_judged(tmp_path):
    preset = tmp_path / "h200_sxm.yaml"
    preset.write_text((PRESETS / "h200_sxm.yaml").read_text())
    found = fitted(tmp_path, sweep(tmp_path, cells=CELLS[:3]), "--preset", str(preset), "--write")
    written = HardwareSpec.model_validate(yaml.safe_load(preset.read_text()))
    assert written.model_dump(mode="json") == found["hardware"]
    text = preset.read_text()
    assert found["calibration_yaml"] in text
    assert "not measured" not in text
    assert "fitted on 3 cells measured with vLLM 0.0.0" in text
    assert max(map(len, text.splitlines())) <= 120
    again = fitted(tmp_path, next(tmp_path.glob("truth-*")), "--preset", str(preset))
    assert again["coefficients"] == found["coefficients"]  # assumed is what the cells were planned with
    assert "flop_efficiency" in again["preset_differs_from_assumed"]


def test_the_section_tells_coefficients_errors_and_what_was_held(known):
    text = fit_section(known)
    one = known["coefficients"]["flop_efficiency"]
    assert f"| `flop_efficiency` | 1 | {one['value']:.4g} ± {one['standard_error']:.2g} | well |" in text
    assert text.count("| chat, max_num_seqs=") == 4
    assert "`expert_flop_efficiency` 0.355" in text
    assert known["sweeps"][0] in text


def test_an_invalid_cell_counts_only_where_asked_for(tmp_path, capsys):
    root = sweep(tmp_path, cells=CELLS[:3], reasons={1: "window_too_short"})
    found = fitted(tmp_path, root)
    assert found["n_cells"] == 2
    assert found["left_out"][0]["why"] == "invalid: window_too_short"
    assert "invalid: window_too_short" in capsys.readouterr().out
    assert fitted(tmp_path, root, "--with-invalid")["n_cells"] == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{nowhere}"], "is no sweep"),
        (["{root}", "--preset", "{nowhere}/x.yaml"], "cannot be read"),
        (["{root}", "--preset", str(PRESETS / "cpu.yaml")], "is no preset of a GPU"),
        (["{root}", "--preset", str(PRESETS / "b200_sxm.yaml")], "on NVIDIA H200, not on NVIDIA B200"),
        (["{root}", "--jobs", "0"], "--jobs must be at least 1"),
        (["{root}", "--with-simulated", "--write"], "not written from simulated cells"),
    ],
)
def test_wrong_input_is_told_in_one_line(tmp_path, capsys, arguments, told):
    root = sweep(tmp_path, cells=CELLS[:1])
    filled = [one.format(root=root, nowhere=tmp_path / "nowhere") for one in arguments]
    assert main([*filled, "--out", str(tmp_path / "fit.json")]) == 2
    line = capsys.readouterr().err
    assert told in line
    assert line.count("\n") == 1
    assert not Path(tmp_path / "fit.json").exists()
