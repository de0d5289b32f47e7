"""``calibrate`` on records made end to end: a driven engine in real time, a fake GPU's counter, the sampler."""

import json
from pathlib import Path

import pytest

from orchestrator.calibrate.errors import CONFIGURATION_LEFT_OUT, PRIOR
from orchestrator.cli import main
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


def test_a_preset_is_fitted_to_what_a_sampler_read(fake_nvml_library: Library, tmp_path: Path, capsys):
    machine = FakeGpus.create(tmp_path, [SENSED_H200], fake_nvml_library)
    ended = run_driven(tmp_path, machine, *SWEEP, timeout_s=500)
    assert ended.code == 0, ended.err
    # The cells were planned with the truth, so the prior must come from the preset.
    assert main(["calibrate", str(sweep_folder(tmp_path)), "hardware=h200_sxm", "prior=preset"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["cells_with_power"] == 3
    assert line["idle_power_w"]["value"] == pytest.approx(77 + 30, rel=0.03)
    for metric in ("output_throughput", "avg_gpu_power_w", "gpu_energy_j_per_output_token"):
        left_out, prior = (line["errors"][kind][metric]["mean_absolute"] for kind in (CONFIGURATION_LEFT_OUT, PRIOR))
        assert left_out < 0.05, metric
        assert left_out < prior, metric
