"""The benchmarks of sampling run and show their results; speed and accuracy are not asserted."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import power_accuracy, sampler_cost
from tests.fake_nvml.gpu_models import SENSED_H100

ERRORS = ("our_counter_error", "zeus_counter_error", "our_integral_error", "zeus_integral_error")
COST = {"cpu_us_per_sample": 41.0, "samples_per_s": 20.0, "core_share": 0.00082}

ZEUS_THAT_KNOWS = """
import json, sys, time
print(json.dumps({"version": "9.9"}), flush=True)
edges_s = []
for line in sys.stdin:
    edges_s.append(time.monotonic())
    if line == "end\\n":
        power_w = 400.0
        energy_j = power_w * (edges_s[1] - edges_s[0])
        print(json.dumps({"edges_s": edges_s, "counter_j": energy_j, "integral_j": 1.1 * energy_j}), flush=True)
        edges_s = []
    else:
        print("{}", flush=True)
"""


def test_a_row_has_the_mean_and_the_worst_error_in_percent():
    windows = [dict(zip(ERRORS, each, strict=True)) for each in ((0.001, -0.02, 0.004, 0.0), (-0.003, 0.0, 0.0, 0.1))]
    cost = {"ours": COST, "zeus": COST}
    results = {
        "date": "d",
        "machine": "m",
        "window_s": 10.0,
        "zeus": "0.16.0",
        "waves": {"sine": windows},
        "cost": cost,
    }
    section = power_accuracy.accuracy_section(results)
    assert "| sine | 0.20 (0.30) | 1.00 (2.00) | 0.20 (0.40) | 5.00 (10.00) |" in section
    assert "| Zeus 0.16.0 | 41 | 20.0 | 0.08% |" in section
    assert "2 windows of 10 s" in section


def test_the_cost_of_sampling_is_shown_for_each_run_with_medians():
    run = {"cpu_us_per_sample": 30.0, "max_gap_ms": 80.0, "n_rows_per_gpu": 1200}
    runs = [{**run, "core_share": share, "p99_gap_ms": 51 + share} for share in (0.01, 0.03, 0.02)]
    results = {"date": "d", "machine": "m", "gpus": 8, "period_s": 0.05, "seconds": 60.0, "runs": runs}
    section = sampler_cost.cost_section(results)
    assert "| 3.00% | 30 | 51.0 | 80.0 | 1,200 |" in section
    assert "Medians: 2.00% of one core, p99 gap 51.0 ms." in section


@pytest.fixture
def zeus(tmp_path: Path) -> str:
    """An interpreter whose `benchmarks.zeus_meter` has a true counter and an integral that is 10 % too large."""
    program = tmp_path / "zeus.py"
    program.write_text(ZEUS_THAT_KNOWS)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {program}\n")
    python.chmod(0o755)
    return str(python)


def test_both_are_measured_over_the_same_windows(make_fake_gpus, monkeypatch, zeus):
    machine = make_fake_gpus([SENSED_H100])
    machine.load(monkeypatch)
    steady = power_accuracy.Wave("steady", 400.0, 0.0, 1.0, power_accuracy.Shape.CONSTANT)
    monkeypatch.setattr(power_accuracy, "WAVES", (steady,))
    monkeypatch.setattr(power_accuracy, "_SETTLE_S", 0.5)
    results = power_accuracy.measured(machine[0], zeus, window_s=0.5, n_windows=1)
    (window,) = results["waves"]["steady"]
    assert window["zeus_counter_error"] == pytest.approx(0.0, abs=1e-6)
    assert window["zeus_integral_error"] == pytest.approx(0.1, abs=1e-6)
    assert np.isfinite([window["our_counter_error"], window["our_integral_error"]]).all()
    assert results["cost"]["ours"]["samples_per_s"] > 0


def test_the_cost_is_measured_on_every_gpu(make_fake_gpus, monkeypatch):
    machine = make_fake_gpus([SENSED_H100] * 2)
    machine.load(monkeypatch)
    monkeypatch.setattr(sampler_cost, "_SETTLE_S", 0.0)
    results = sampler_cost.run_once([gpu.uuid for gpu in machine], period_s=0.02, length_s=1.0)
    assert results["core_share"] > 0
    assert 0 < results["p99_gap_ms"] <= results["max_gap_ms"]
    assert results["n_rows_per_gpu"] > 1
