"""A sweep that names no limit and no clock sets nothing on the GPUs it measures, as root and to the end."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.fake_nvml.driven_sweep import run_driven
from tests.fake_nvml.fake_gpus import SENSED_H200, FakeGpus, GpuModel

from .command import sweep_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SWEEP = (
    "-m",
    "engine.max_num_seqs=4,8",
    "hardware=h200_sxm",
    "collectors.power=nvml",
    "tracking=none",
    "workflow.executor=local",
    "load.users=8",
    "load.num_workflows=8",
    "workflow.prompt_tokens={mean: 40, max: 60}",
    "workflow.output_tokens={mean: 60, max: 100}",
    "protocol.min_window_s=0",
    "protocol.warmup_s=0.5",
    "protocol.idle_baseline_s=0.5",
)
"""Two engines, so two lanes on Ray: start, cells, teardown, and all of it again."""


@pytest.mark.parametrize("executor", [pytest.param("ray", marks=pytest.mark.ray), "inline"])
def test_a_sweep_without_limits_and_clocks_sets_nothing(
    make_fake_gpus: Callable[[Sequence[GpuModel]], FakeGpus], tmp_path: Path, executor: str
):
    machine = make_fake_gpus([SENSED_H200])
    ended = run_driven(tmp_path, machine, *SWEEP, f"executor={executor}", "protocol.max_energy_gap_ratio=1")
    records = list((sweep_folder(tmp_path) / "cells").glob("*/record.json"))
    assert len(records) == 2, ended.out + ended.err
    assert all('"total_gpu_energy_j"' in path.read_text() for path in records), ended.out
    assert machine.set_calls == ()
    gpu = machine[0]
    assert (gpu.power_limit_w, gpu.locked_sm_clock_mhz, gpu.persistence) == (700, None, False)
    left = {path.name for path in machine.state_path.with_name("state").glob("*")}
    assert left <= {f"{gpu.uuid}.lock"}, "neither a journal nor a guard"
