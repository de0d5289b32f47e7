from sample_sweeps import a_cell, a_matrix, a_record, settings

from orchestrator.store.sweep import SweepStore
from orchestrator.tracking.run_content import cell_note, sweep_note

RECORD = a_record(
    a_cell(users=1), metrics={"gpu_energy_j_per_workflow": 129.6124, "window_s": 61.25, "num_requests": 9.0}
)


def test_a_cell_says_its_verdict_and_its_headlines_with_units_before_its_drawing():
    text = cell_note("copilot users=4", RECORD, "run7", drawn=True)
    assert text.split("\n\n") == [
        "**SIMULATED**: computed, not measured. `copilot users=4`: ok. Window: 61.25 s.",
        "GPU energy per workflow **130\u00a0J**",
        "![power and output tokens over time](get-artifact?path=timeline.svg&run_uuid=run7)",
    ]
    assert "timeline.svg" not in cell_note("copilot", RECORD, "run7", drawn=False)


def test_a_cell_that_must_not_be_pooled_says_why():
    invalid = a_record(a_cell(), "invalid", transient=(True,))
    assert "`x`: invalid, not to be pooled: reason_0 (why)." in cell_note("x", invalid, "r", drawn=False)
    assert "`x`: failed: ValueError: boom." in cell_note("x", a_record(a_cell(), "failed"), "r", drawn=False)


def test_a_sweep_says_what_is_left_and_lists_whole_findings(runs_dir):
    manifest = SweepStore.create(runs_dir, a_matrix(), settings(), {}).manifest
    findings = [{"panel": "chat", "text": "Least energy. " + "x" * 900, "cells": []}] * 9

    text = sweep_note(manifest, [a_record(a_matrix().cells[0])], findings, "run7")

    assert f"1 cells are left: `python -m orchestrator resume={manifest.sweep_id}` runs them." in text
    assert "[report.html](get-artifact?path=report.html&run_uuid=run7)" in text
    assert len(text) <= 5000
    assert 3 <= text.count("\n- **chat**: Least energy. ") < 9
    assert text.endswith("xxx")
    assert "- **" not in sweep_note(manifest, [RECORD])


def test_energy_that_was_not_measured_is_said():
    text = cell_note("copilot", a_record(a_cell(), metrics={"median_workflow_ms": 12.0}), "run7", drawn=False)
    assert "energy **not measured** · median workflow time **12" in text
    assert "not measured" not in cell_note("copilot", a_record(a_cell(), "failed"), "run7", drawn=False).split("`")[-1]
    assert "energy **not" not in cell_note("copilot", RECORD, "run7", drawn=False)


def test_a_measured_energy_says_where_it_is_from_and_how_sure_it_is():
    metrics = {"total_gpu_energy_j": 5000.0, "energy_uncertainty_j": 20.0, "energy_gap_ratio": -0.012}
    record = a_record(a_cell(power_limit_w=300), metrics=metrics | {"cap_bound_ratio": 0.0})
    plain = record.cell | {"collectors": {"power": "nvml"}}
    measured = record.model_copy(update={"cell": plain, "provenance": {"energy_source": "counter"}})
    text = cell_note("copilot", measured, "run7", drawn=False)
    assert "the cap is **inert**: it never lowered the clock" in text
    assert "energy measured (NVML counter), edges ± 0.4\u00a0%, integral \u22121.2\u00a0% off" in text
    bound = measured.model_copy(update={"metrics": metrics | {"cap_bound_ratio": 0.4}})
    assert "inert" not in cell_note("copilot", bound, "run7", drawn=False)
