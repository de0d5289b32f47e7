"""Sweeps that measure: real lanes, collectors and control over an engine that drives fake GPUs whose truth is known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.fake_nvml.driven_sweep import run_driven
from tests.fake_nvml.fake_gpus import SENSED_H100, FakeGpus, Library, Nvml
from tests.fake_nvml.layout import CallClass
from tests.fake_nvml.truth import Truth

from .command import Ended, sweep_folder

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

BASE = ("tracking=none", "collectors.power=nvml")
STEADY = ("workflow.prompt_tokens={mean: 40, max: 60}", "workflow.output_tokens={mean: 300, max: 600}")
"""Chat whose power varies slowly: a sensor that sees a quarter of the time tells the mean."""
WINDOW_S = 10


class Sweep:
    """Ended, its machine, and its records.

    With `resumes` it is resumed while something is invalid, as one does on a machine that was too busy to sample.
    """

    def __init__(
        self,
        folder: Path,
        machine: FakeGpus,
        *arguments: str,
        workflow: str = "chat",
        timeout_s: float = 280,
        resumes: int = 0,
    ) -> None:
        self.folder, self.machine = folder, machine
        options = ("-m", *BASE, f"workflow={workflow}", *arguments)
        self.ended: Ended = run_driven(folder, machine, *options, timeout_s=timeout_s)
        assert (folder / "runs").is_dir(), self.ended.out + self.ended.err
        while self.ended.code == 1 and resumes:
            self.ended = run_driven(folder, machine, *options, "resume=latest", timeout_s=timeout_s)
            resumes -= 1
        found = sorted((sweep_folder(folder) / "cells").glob("*/record.json"))
        self.records: list[dict[str, Any]] = [json.loads(path.read_text()) for path in found]

    @property
    def cells(self) -> pd.DataFrame:
        return pd.read_csv(sweep_folder(self.folder) / "results.csv")

    def series(self, record: dict[str, Any], name: str) -> pd.DataFrame:
        return pd.read_parquet(sweep_folder(self.folder) / "cells" / record["cell_id"] / f"{name}.parquet")

    def truth_j(self, record: dict[str, Any]) -> float:
        """What the cell's GPUs used in its window."""
        truth = Truth.of_cell(self.machine, record["cell_id"])
        return truth.energy_j(self.machine, record["window"]["start_s"], record["window"]["end_s"])


def _without_permission(machine: FakeGpus) -> None:
    machine.set_privileged(False)


def _limits_time_out(machine: FakeGpus) -> None:
    for gpu in machine:
        gpu.fail(CallClass.LIMIT_SET, Nvml.TIMEOUT)


def _one_is_lost(machine: FakeGpus) -> None:
    machine[0].fail(CallClass.DEVICE, Nvml.GPU_IS_LOST)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_without_permission, ("permission", "hardware.power_limit_w=null")),
        (_limits_time_out, ("timeout", "hardware.power_limit_w=null")),
        (_one_is_lost, ("lost",)),
    ],
)
def test_where_gpus_cannot_be_set_one_line_says_so_and_nothing_starts(
    fake_nvml_library: Library, tmp_path: Path, spoil: Callable[[FakeGpus], None], told: tuple[str, ...]
):
    machine = FakeGpus.create(tmp_path, [SENSED_H100] * 2, fake_nvml_library)
    spoil(machine)
    ended = run_driven(tmp_path, machine, "-m", *BASE, "hardware.power_limit_w=300,400")
    assert ended.code == 3, ended.out + ended.err
    assert all(each in ended.line["error"] for each in told), ended.line
    assert "\n" not in ended.line["error"]
    assert not machine.state_path.with_name("truth").exists()
    assert machine[0].power_limit_w == machine[1].power_limit_w == 700


def codes(record: dict[str, Any]) -> set[str]:
    return {reason["code"] for reason in record["reasons"]}


@pytest.fixture(scope="module")
def knobs(fake_nvml_library: Library, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Caps that bind and do not, with a clock that is locked and not."""
    folder = tmp_path_factory.mktemp("knobs")
    machine = FakeGpus.create(folder, [SENSED_H100], fake_nvml_library)
    return Sweep(
        folder,
        machine,
        "hardware.power_limit_w=250,690",
        "hardware.sm_clock_mhz=null,1200",
        *STEADY,
        "load.users=48",
        "load.num_workflows=48",
        f"protocol.min_window_s={WINDOW_S}",
        "protocol.warmup_s=2",
        "workflow.executor=local",
        "protocol.max_repetitions=40",
        "protocol.idle_baseline_s=1",
        resumes=2,
    )


def test_counter_and_integral_are_within_one_percent_of_the_truth(knobs: Sweep):
    assert knobs.ended.code == 0, knobs.ended.out + knobs.ended.err
    assert len(knobs.records) == 4
    for record in knobs.records:
        assert record["status"] == "ok", record["reasons"]
        assert record["simulated"] is False
        metrics, truth_j = record["metrics"], knobs.truth_j(record)
        assert metrics["window_s"] >= WINDOW_S
        assert metrics["total_gpu_energy_j"] == pytest.approx(truth_j, rel=0.01)
        assert metrics["integral_gpu_energy_j"] == pytest.approx(truth_j, rel=0.01)


def test_caps_and_clocks_acted_and_are_told(knobs: Sweep):
    of = {(r["cell"]["hardware"]["power_limit_w"], r["cell"]["hardware"].get("sm_clock_mhz")): r for r in knobs.records}
    capped, locked = of[250, None]["metrics"], of[690, 1200]["metrics"]
    free = of[690, None]["metrics"]
    assert capped["cap_bound_ratio"] > 0.5
    assert free["cap_bound_ratio"] == 0
    assert locked["cap_bound_ratio"] == 0
    assert capped["avg_gpu_power_w"] <= 250
    assert locked["avg_sm_clock_mhz"] == pytest.approx(1200, abs=15)
    assert free["avg_sm_clock_mhz"] == pytest.approx(1980, abs=15)
    assert capped["output_throughput"] < free["output_throughput"]
    assert locked["avg_gpu_power_w"] < free["avg_gpu_power_w"]
    for (limit_w, _), record in of.items():
        (told,) = record["control"].values()
        assert told["requested"]["power_limit_w"] == told["enforced_power_limit_w"] == limit_w
        power = knobs.series(record, "power")
        inside = power[power["t_s"].between(record["window"]["start_s"], record["window"]["end_s"])]
        assert (inside["power_limit_w"] == limit_w).all()


def test_a_cap_that_never_bound_is_called_inert(knobs: Sweep):
    effect = knobs.cells.groupby("hardware.power_limit_w")["cap_effect"].unique()
    assert list(effect[250]) == ["bound"]
    assert list(effect[690]) == ["inert"]


def test_what_was_found_is_back(knobs: Sweep):
    for gpu in knobs.machine:
        assert gpu.power_limit_w == 700
        assert gpu.locked_sm_clock_mhz is None
        assert gpu.power_w() == SENSED_H100.idle_power_w


@pytest.fixture(scope="module")
def short(fake_nvml_library: Library, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A window of half a second."""
    folder = tmp_path_factory.mktemp("short")
    machine = FakeGpus.create(folder, [SENSED_H100], fake_nvml_library)
    return Sweep(
        folder,
        machine,
        "load.users=8",
        "load.num_workflows=16",
        "workflow.prompt_tokens={mean: 200, max: 400}",
        "workflow.output_tokens={mean: 60, max: 80}",
        "protocol.max_repetitions=1",
        "protocol.warmup_s=0.5",
        "protocol.idle_baseline_s=0.5",
    )


def test_a_window_of_half_a_second_is_flagged(short: Sweep):
    (record,) = short.records
    assert record["metrics"]["window_s"] < 1
    assert record["status"] == "invalid"
    assert "window_too_short" in codes(record)
    assert short.ended.code == 1


@pytest.fixture(scope="module")
def pulsed(fake_nvml_library: Library, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A request every 100 ms, answered in half of that: power is a square wave of the sensor's own period."""
    folder = tmp_path_factory.mktemp("pulsed")
    rows = [f"{index * 0.1:.3f},1200,3" for index in range(130)]
    (folder / "pulses.csv").write_text("\n".join(["arrival_s,ContextTokens,GeneratedTokens", *rows]) + "\n")
    machine = FakeGpus.create(folder, [SENSED_H100], fake_nvml_library)
    return Sweep(
        folder,
        machine,
        f"workflow.trace={folder / 'pulses.csv'}",
        "load=replay",
        "protocol.warmup_s=0.5",
        "protocol.idle_baseline_s=0.5",
        workflow="trace_replay",
    )


def test_a_square_wave_near_the_sensors_period_is_flagged(pulsed: Sweep):
    (record,) = pulsed.records
    assert "power_near_sensor_period" in codes(record), (record["reasons"], record["metrics"])
    assert record["metrics"]["total_gpu_energy_j"] == pytest.approx(pulsed.truth_j(record), rel=0.01)


EXPECTED = {
    "gpu_lost": {"sensor_lost"},
    "time_out": {"sensor_lost", "sampler_gap"},
    "zero_watts": {"power_implausible", "counter_integral_gap"},
    "stuck_counter": {"counter_stuck", "counter_integral_gap"},
    "wrapping_counter": {"counter_backwards", "counter_integral_gap"},
    "miscalibrated": {"counter_integral_gap"},
    "thermal": {"thermal_throttling"},
    "foreign_process": {"foreign_process"},
}
"""Reasons of which a trouble in the middle of a cell must give one at least."""

TOLD_OTHERWISE = ("no_permission", "power_not_supported", "counter_not_supported", "slow_reads")
"""Troubles that a cell may survive, with what it then lacks told."""


@pytest.fixture(scope="module")
def troubled(fake_nvml_library: Library, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("troubled")
    machine = FakeGpus.create(folder, [SENSED_H100] * 4, fake_nvml_library)
    return Sweep(
        folder,
        machine,
        f"engine.trouble={','.join(['none', *EXPECTED, *TOLD_OTHERWISE])}",
        "engine.trouble_at_s=2",
        *STEADY,
        "protocol.warmup_s=0.5",
        "load.users=16",
        "load.num_workflows=16",
        "protocol.min_window_s=4",
        "protocol.max_repetitions=40",
        "protocol.idle_baseline_s=0.5",
        "protocol.max_attempts=1",
        "workflow.executor=local",
        timeout_s=600,
    )


def _of(sweep: Sweep) -> dict[str, dict[str, Any]]:
    return {record["cell"]["engine"].get("trouble", "none"): record for record in sweep.records}


@pytest.mark.exhaustive
def test_latencies_survive_whatever_the_sensors_do(troubled: Sweep):
    of = _of(troubled)
    assert set(of) == {"none", *EXPECTED, *TOLD_OTHERWISE}
    assert of["none"]["status"] == "ok", of["none"]["reasons"]
    for trouble, record in of.items():
        assert record["status"] in ("ok", "invalid"), f"{trouble}: {record['attempts']}"
        assert record["metrics"]["median_ttft_ms"] > 0
        assert record["metrics"]["output_throughput"] > 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("trouble", sorted(EXPECTED))
def test_every_trouble_ends_in_its_reason(troubled: Sweep, trouble: str):
    record = _of(troubled)[trouble]
    assert record["status"] == "invalid"
    assert codes(record) & EXPECTED[trouble], record["reasons"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("trouble", TOLD_OTHERWISE)
def test_what_is_not_read_is_told_and_never_zero(troubled: Sweep, trouble: str):
    record = _of(troubled)[trouble]
    metrics = record["metrics"]
    for name in ("total_gpu_energy_j", "integral_gpu_energy_j", "avg_gpu_power_w"):
        assert metrics.get(name) != 0
    told = set(troubled.series(record, "sensor_events")["kind"]) if "sensor_events" in record["series"] else set()
    assert codes(record) or told & {"error", "lost", "gap", "note"}, metrics
    if "total_gpu_energy_j" in metrics and not record["reasons"]:
        assert metrics["total_gpu_energy_j"] == pytest.approx(troubled.truth_j(record), rel=0.05)
