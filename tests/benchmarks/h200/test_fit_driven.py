"""A fit on records from end to end: a driven engine in real time, a fake GPU's counter, a sampler, a sweep on disk."""

import json
from pathlib import Path

import pytest

from benchmarks.h200.fit import main
from benchmarks.h200.fit_error import LEFT_OUT
from benchmarks.h200.fit_preset import PRESETS
from tests.end_to_end.command import sweep_folder
from tests.fake_nvml.driven_sweep import run_driven
from tests.fake_nvml.fake_gpus import SENSED_H200, FakeGpus, Library

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(600)]

TRUTH = {"flop_efficiency": 0.78, "kv_bandwidth_efficiency": 0.72, "memory_power_w": 440, "compute_power_w": 700}
SWEEP = (
    "-m",
    "hardware=h200_sxm",
    "collectors.power=nvml",
    "tracking=none",
    "executor=inline",
    "workflow=chat",
    "workflow.executor=local",
    "engine.max_num_seqs=4,16,32",
    "load=closed",
    "load.users=${engine.max_num_seqs}",
    "load.num_workflows=${engine.max_num_seqs}",
    "protocol.warmup_s=1",
    "protocol.min_window_s=5",
    *(f"++hardware.calibration.{name}={value}" for name, value in TRUTH.items()),
)


def test_a_preset_is_found_from_what_a_sampler_read(fake_nvml_library: Library, tmp_path: Path):
    machine = FakeGpus.create(tmp_path, [SENSED_H200], fake_nvml_library)
    ended = run_driven(tmp_path, machine, *SWEEP, timeout_s=500)
    assert ended.code == 0, ended.err
    out = tmp_path / "fit.json"
    assumed = ("--assumed", str(PRESETS / "h200_sxm.yaml"))  # what the cells say of the GPU is here the truth
    assert main([str(sweep_folder(tmp_path)), "--out", str(out), "--jobs", "1", *assumed]) == 0
    found = json.loads(out.read_text())
    assert found["n_cells_with_power"] == 3
    assert found["idle_power_w"]["value"] == pytest.approx(77 + 30, rel=0.03)
    for metric in ("output_throughput", "avg_gpu_power_w", "gpu_energy_j_per_output_token"):
        left_out, present = (found["errors"][name][metric]["mean_absolute"] for name in (LEFT_OUT, "present"))
        assert left_out < 0.05, metric
        assert left_out < present, metric
