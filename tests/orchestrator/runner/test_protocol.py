"""Preparation of a cell, and how its load fills the window; on the simulated engine, in virtual time."""

import asyncio

import pytest
from sample_sweeps import a_cell

from orchestrator.monitor.base import Prepared
from orchestrator.runner.local import run_cell
from orchestrator.runner.phases import cool_down
from orchestrator.spec.cell import Cell
from workflows.clock import MonotonicClock

ENGINE = {"kind": "simulated", "max_num_seqs": 4, "max_num_batched_tokens": 2048}


CLOSED = {"kind": "closed", "users": 4, "num_workflows": 8}


OPEN = {"kind": "poisson", "request_rate": 100.0, "num_workflows": 20}


CHAIN = {"kind": "chain_summary", "chunk_tokens": 2000, "output_tokens": 20, "documents": (0,)}


def cell(load=None, workflow=None, repeat=0, **protocol) -> Cell:
    changes = {"engine": ENGINE, "load": load or CLOSED, "protocol": protocol, "repeat": repeat}
    plain = a_cell().canonical() | changes
    return Cell.model_validate(plain | ({"workflow": workflow} if workflow else {}))


def phases(result):
    return {phase.name: (phase.start_s, phase.end_s) for phase in result.phases}


def test_default_values_of_preparation_fields_change_no_id():
    plain = cell(min_window_s=0)
    same = cell(min_window_s=0, warmup_s=0, warmup_workflows=0, max_repetitions=1, cooldown_below_c=None)
    assert plain.cell_id == same.cell_id
    assert plain.cell_id != cell(min_window_s=0, warmup_s=1).cell_id


@pytest.mark.parametrize("load", [CLOSED, OPEN])
def test_a_warm_up_is_a_phase_of_its_own_and_leaves_nothing_behind(load):
    plain, warm = (run_cell(cell(load, min_window_s=0, warmup_s=warmup_s)) for warmup_s in (0, 3.0))
    assert "warmup" not in phases(plain)
    start_s, end_s = phases(warm)["warmup"]
    assert end_s == 0
    assert start_s <= -3.0
    assert phases(warm)["idle"] == pytest.approx(phases(plain)["idle"])
    assert warm.metrics == pytest.approx(plain.metrics)
    assert {name: table.num_rows for name, table in warm.series.items()} == {
        name: table.num_rows for name, table in plain.series.items()
    }


def test_a_short_closed_loop_is_repeated_until_its_window_is_long_enough():
    once = run_cell(cell(min_window_s=2.0))
    assert [reason.code for reason in once.reasons] == ["window_too_short"]
    assert "num_repetitions" not in once.metrics
    filled = run_cell(cell(min_window_s=2.0, max_repetitions=1000))
    assert filled.status == "ok"
    assert filled.metrics["window_s"] >= 2.0
    assert filled.metrics["num_repetitions"] == filled.series["steps"].num_rows / 8 > 2
    shorter = run_cell(cell(min_window_s=2.0, max_repetitions=int(filled.metrics["num_repetitions"]) - 2))
    assert shorter.metrics["window_s"] < 2.0


def test_repetitions_go_on_with_the_same_source():
    once, twice = (run_cell(cell(min_window_s=100.0, max_repetitions=most)) for most in (1, 2))
    first, both = (result.series["requests"].sort_by("request_id").to_pylist() for result in (once, twice))
    tokens = {row["request_id"]: row["output_tokens"] for row in both}
    assert len(both) == 2 * len(first) == len(tokens)
    assert {row["request_id"]: row["output_tokens"] for row in first}.items() <= tokens.items()


def test_a_window_that_is_long_enough_is_not_repeated():
    assert run_cell(cell(min_window_s=0, max_repetitions=9)).metrics["num_repetitions"] == 1


@pytest.mark.parametrize("users", [1, 3, 8, 64])
@pytest.mark.parametrize("think_time_s", [0.0, 0.2])
def test_the_window_is_never_shorter_than_the_bound_computed_during_the_run(users, think_time_s):
    load = {"kind": "closed", "users": users, "num_workflows": 5, "think_time_s": think_time_s}
    for min_window_s in (0.5, 1.0, 3.0):
        result = run_cell(cell(load, min_window_s=min_window_s, max_repetitions=10_000))
        assert result.status == "ok", result.reasons


def test_workflows_of_several_steps_fill_their_window():
    result = run_cell(cell(workflow=CHAIN, min_window_s=10.0, max_repetitions=1000))
    assert result.status == "ok"
    assert result.window["rule"] == "workflows"
    assert result.metrics["num_repetitions"] > 1


def test_an_open_loop_gets_more_arrivals_of_the_same_process():
    once, filled = (run_cell(cell(OPEN, min_window_s=2.0, max_repetitions=most)) for most in (1, 1000))
    assert once.status == "invalid"
    assert filled.status == "ok"
    first, all_ = (result.series["steps"].column("arrival_s").to_pylist() for result in (once, filled))
    assert all_[:20] == first
    assert filled.metrics["num_repetitions"] == len(all_) / 20


class Thermometer:
    """A monitor that only has temperatures; each call returns the next ones."""

    def __init__(self, *readings):
        self.readings = list(readings)
        self.calls = 0

    async def latest(self):
        row = self.readings[min(self.calls, len(self.readings) - 1)]
        self.calls += 1
        return {device: {} if at_c is None else {"temperature_c": at_c} for device, at_c in row.items()}


def cooled(monitor, monkeypatch, first_c=None, **protocol):
    monkeypatch.setattr("orchestrator.runner.phases._TEMPERATURE_PERIOD_S", 0.001)
    sampled = cell(**protocol).model_copy(update={"collectors": a_sampled()})
    return asyncio.run(cool_down(sampled, monitor, Prepared(first_temperature_c=first_c or {}), MonotonicClock()))


def a_sampled():
    return a_cell().collectors.model_copy(update={"power": "nvml"})


def test_a_cell_waits_until_its_gpus_are_cool(monkeypatch):
    monitor = Thermometer({"a": 70.0, "b": 40.0}, {"a": 51.0, "b": 40.0}, {"a": 50.0, "b": 40.0})
    assert cooled(monitor, monkeypatch, cooldown_below_c=50.0) == ()
    assert monitor.calls == 3


def test_a_gpu_that_stays_warm_is_a_reason_and_no_failure(monkeypatch):
    monitor = Thermometer({"GPU-a": 70.0, "GPU-b": 40.0})
    (reason,) = cooled(monitor, monkeypatch, cooldown_below_c=50.0, cooldown_timeout_s=0.02)
    assert (reason.code, reason.transient) == ("not_cooled_down", True)
    assert "GPU-a is at 70 °C" in reason.detail
    assert "GPU-b" not in reason.detail


@pytest.mark.parametrize("reading", [{"GPU-a": None}, {}])
def test_an_unknown_temperature_is_not_cool(monkeypatch, reading):
    (reason,) = cooled(Thermometer(reading), monkeypatch, cooldown_below_c=50.0, cooldown_timeout_s=0.02)
    assert reason.code == "not_cooled_down"


def test_without_a_limit_or_a_sensor_a_cell_does_not_wait(monkeypatch):
    monitor = Thermometer({"GPU-a": 99.0})
    assert cooled(monitor, monkeypatch) == ()
    assert asyncio.run(cool_down(cell(cooldown_below_c=50.0), monitor, Prepared(), MonotonicClock())) == ()
    assert monitor.calls == 0


def test_a_band_is_above_what_the_lane_began_at_and_the_lower_limit_holds(monkeypatch):
    monitor = Thermometer({"a": 45.0, "b": 45.0}, {"a": 40.0, "b": 45.0}, {"a": 40.0, "b": 35.0})
    assert cooled(monitor, monkeypatch, {"a": 35.0, "b": 30.0}, cooldown_band_c=5.0) == ()
    assert monitor.calls == 3
    monitor = Thermometer({"a": 45.0}, {"a": 39.0})
    assert cooled(monitor, monkeypatch, {"a": 90.0}, cooldown_band_c=5.0, cooldown_below_c=40.0) == ()
    assert monitor.calls == 2
