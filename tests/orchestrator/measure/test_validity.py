"""Every reason of a sampled cell: a sensor simulated over known power, with one error each."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from known_power import square
from sampled_cell import a_cell, a_power, spoilt

from orchestrator.measure.reasons import REASONS, as_markdown
from orchestrator.measure.summary import summarise
from orchestrator.records.metrics import cap_effect
from orchestrator.records.series import GPU_PROCESSES, SENSOR_EVENTS

_ROOT = Path(__file__).parents[3]
_LENGTH_S = 20.0
_IDLE, _CAP, _SLOW, _SW_HEAT, _HW_HEAT, _BRAKE = 0x1, 0x4, 0x8, 0x20, 0x40, 0x80


@pytest.fixture
def work(table):
    """Series with two steps per workflow: the window is from the first submit at 2 s to the last finish at 22 s."""

    def make(length_s: float = _LENGTH_S, output_tokens: int = 11):
        times = {"submitted_s": 2.0, "first_token_s": 3.0, "finished_s": 2 + length_s}
        names = ("a", "b")
        rows = [{"request_id": name, "workflow_id": "w", "output_tokens": output_tokens} | times for name in names]
        steps = [
            {"request_id": name, "workflow_id": "w", "step": name, "arrival_s": 2.0, "finished_s": 2 + length_s}
            for name in names
        ]
        return {"requests": table("requests", rows), "steps": table("steps", steps)}

    return make


def _codes(cell, work, power, **series):
    summary = summarise(cell, {**work, "power": power, **series})
    return [reason.code for reason in summary.reasons]


def test_a_sound_cell_has_no_reason_and_all_its_energies(work):
    summary = summarise(a_cell(), {**work(), "power": a_power()})
    assert summary.reasons == ()
    assert summary.energy_source == "counter"
    assert summary.metrics["total_gpu_energy_j"] == pytest.approx(400 * _LENGTH_S, rel=0.02)
    assert summary.metrics["power_to_cap_ratio"] == pytest.approx(400 / 700, rel=0.02)
    assert summary.metrics["cap_bound_ratio"] == 0
    assert summary.metrics["avg_sm_clock_mhz"] == pytest.approx(1980)
    assert summary.metrics["max_gpu_temperature_c"] == 60
    assert summary.metrics["longest_sample_gap_s"] == pytest.approx(0.05, abs=0.005)
    assert summary.metrics["energy_uncertainty_j"] < 0.01 * summary.metrics["total_gpu_energy_j"]


def test_half_a_second_is_flagged_even_if_no_window_is_too_short(work):
    codes = _codes(a_cell(protocol={"min_window_s": 0}), work(0.5), a_power())
    assert codes == ["energy_uncertain"]
    assert _codes(a_cell(), work(0.5), a_power()) == ["window_too_short", "energy_uncertain"]


def test_a_square_wave_at_the_sensors_period_is_flagged(work):
    assert "counter_integral_gap" in _codes(a_cell(), work(), a_power(square(100, 600, 0.1)))
    assert "power_near_sensor_period" in _codes(a_cell(), work(), a_power(square(100, 600, 0.1005)))


def test_missing_samples_are_a_lost_sensor_and_latencies_stay(work):
    events = pa.table(
        {"t_s": [12.0], "device": ["GPU-0"], "kind": ["lost"], "detail": ["GPU is lost"]}, schema=SENSOR_EVENTS
    )
    power = a_power()
    early = power.filter(pa.array(power.column("t_s").to_numpy() < 12))
    summary = summarise(a_cell(), {**work(), "power": early, "sensor_events": events})
    (reason,) = summary.reasons
    assert (reason.code, reason.transient) == ("sensor_lost", True)
    assert "GPU is lost" in reason.detail
    assert "end 10 s early" in reason.detail
    assert "mean_e2el_ms" in summary.metrics
    assert not {"total_gpu_energy_j", "idle_energy_j"} & set(summary.metrics)
    assert _codes(a_cell(), work(), power.slice(0, 0)) == ["sensor_lost"]
    assert _codes(a_cell(tensor_parallel_size=2), work(), power) == ["sensor_lost"]


def test_gaps_between_samples_are_flagged(work):
    power = a_power()
    t_s = power.column("t_s").to_numpy()
    for gap_s, codes in ((0.8, []), (1.6, ["sampler_gap"])):
        assert _codes(a_cell(), work(), power.filter(pa.array((t_s < 10) | (t_s > 10 + gap_s)))) == codes
    scattered = power.filter(pa.array((t_s % 2 < 0.1) | (t_s % 2 > 0.5)))
    assert _codes(a_cell(), work(), scattered) == ["sampler_gap"]
    short = power.filter(pa.array((t_s < 10) | (t_s > 10.8)))
    assert _codes(a_cell(protocol={"max_sample_gap_s": 0.5}), work(), short) == ["sampler_gap"]


def test_a_counter_that_is_stuck_or_falls_is_flagged(work):
    stuck = spoilt(a_power(), "energy_j", lambda t, j: np.minimum(j, j[np.searchsorted(t, 12.0)]))
    assert "counter_stuck" in _codes(a_cell(), work(), stuck)
    still = spoilt(a_power(), "energy_j", lambda t, j: 0 * j)
    assert "counter_stuck" in _codes(a_cell(), work(), still)
    fell = spoilt(a_power(), "energy_j", lambda t, j: np.where(t < 12, j, j - 3000))
    summary = summarise(a_cell(), {**work(), "power": fell})
    assert [reason.code for reason in summary.reasons] == ["counter_backwards"]
    assert summary.energy_source.startswith("integral")
    assert summary.metrics["total_gpu_energy_j"] == pytest.approx(400 * _LENGTH_S, rel=0.02)


@pytest.mark.parametrize("gone_s", [(9.0, 14.0), (0.0, 5.0), (20.0, 23.5)])
def test_a_window_in_which_the_driver_was_reloaded_has_no_energy(work, gone_s):
    """The window, from 2 to 22 s, contains the whole gap, its end, or its start."""
    from_s, to_s = gone_s
    again = spoilt(a_power(), "energy_j", lambda t, j: np.where(t < to_s, j, j - 1e6))
    t_s = again.column("t_s").to_numpy()
    summary = summarise(a_cell(), {**work(), "power": again.filter(pa.array((t_s < from_s) | (t_s > to_s)))})
    assert {"sampler_gap", "counter_backwards"} <= {reason.code for reason in summary.reasons}
    assert not {"total_gpu_energy_j", "integral_gpu_energy_j", "idle_energy_j"} & set(summary.metrics)
    assert "num_requests" in summary.metrics


def test_a_counter_that_wraps_is_valid(work):
    wrapped = spoilt(a_power(), "energy_j", lambda t, j: np.where(t < 12, j, j - 2**32 / 1e3))
    summary = summarise(a_cell(), {**work(), "power": wrapped})
    assert summary.reasons == ()
    assert summary.metrics["total_gpu_energy_j"] == pytest.approx(400 * _LENGTH_S, rel=0.02)


def test_a_gpu_without_a_counter_is_measured_by_its_integral(work):
    summary = summarise(a_cell(), {**work(), "power": spoilt(a_power(), "energy_j", lambda t, j: j * np.nan)})
    assert summary.reasons == ()
    assert summary.energy_source.startswith("integral")
    assert summary.metrics["total_gpu_energy_j"] == pytest.approx(400 * _LENGTH_S, rel=0.02)
    assert "energy_gap_ratio" not in summary.metrics


def test_implausible_power_is_flagged(work):
    for watts in (0.0, 1200.0):
        odd = spoilt(a_power(), "power_w", lambda t, w, to=watts: np.where((t > 10) & (t < 13), to, w))
        codes = _codes(a_cell(), work(), odd)
        assert "power_implausible" in codes
        assert "power_near_sensor_period" not in codes
    spike = spoilt(a_power(), "power_w", lambda t, w: np.where((t > 10) & (t < 10.1), 900.0, w))
    assert _codes(a_cell(), work(), spike) == []


def _bursts(base_w: float, burst_w: float):
    """Return power with a burst of 50 ms once a second."""
    return lambda t_s: np.where((t_s + 0.31) % 1.0003 < 0.05, burst_w, base_w)


def test_power_above_a_limit_for_a_moment_is_plausible(work):
    """Dense work on an H200 exceeds its 700 W by a tenth, and a low cap by far, until the cap takes effect."""
    for limit_w, burst_w in ((700.0, 790.0), (200.0, 600.0)):
        cell = a_cell() if limit_w == 700 else a_cell(power_limit_w=limit_w)
        capped = a_power(_bursts(0.9 * limit_w, burst_w), power_limit_w=limit_w)
        assert float(np.max(capped.column("power_w").to_numpy())) > 1.1 * limit_w
        assert "power_implausible" not in _codes(cell, work(), capped)
    absurd = a_power(_bursts(180.0, 1200.0), power_limit_w=200.0)
    assert "power_implausible" in _codes(a_cell(power_limit_w=200), work(), absurd)


@pytest.mark.parametrize(
    ("bits", "code"),
    [
        (_SW_HEAT, "thermal_throttling"),
        (_HW_HEAT | _SLOW, "thermal_throttling"),
        (_SLOW, "thermal_throttling"),
        (_BRAKE | _SLOW, "power_brake"),
        (_CAP, None),
        (_IDLE, None),
    ],
)
def test_clock_event_reasons_that_make_a_cell_invalid(work, bits, code):
    hot = spoilt(a_power(), "clock_event_reasons", lambda t, r: np.where((t > 10) & (t < 12), bits, r))
    summary = summarise(a_cell(), {**work(), "power": hot})
    assert [reason.code for reason in summary.reasons] == ([code] if code else [])
    if code:
        assert "10.0% of the window" in summary.reasons[0].detail
        assert _codes(a_cell(protocol={"max_throttled_ratio": 0.2}), work(), hot) == []


def test_share_of_busy_time_at_the_cap(work):
    capped = spoilt(a_power(power_limit_w=400.0), "clock_event_reasons", lambda t, r: np.where(t < 7, _CAP, r))
    summary = summarise(a_cell(power_limit_w=400), {**work(), "power": capped})
    assert summary.metrics["cap_bound_ratio"] == pytest.approx(5 / 20, abs=0.01)  # idle until 2 s does not count
    assert summary.metrics["power_to_cap_ratio"] == pytest.approx(1.0, rel=0.02)
    assert summary.reasons == ()
    config = {"hardware.power_limit_w": 400.0}
    assert cap_effect(config, summary.metrics) == "bound"
    assert cap_effect(config, {"cap_bound_ratio": 0.002}) == "inert"
    assert cap_effect({"hardware.power_limit_w": None}, {"cap_bound_ratio": 0.0}) is None
    assert cap_effect(config | {"hardware.default_power_limit_w": 400.0}, {"cap_bound_ratio": 0.0}) is None
    assert cap_effect(config, {}) is None


def test_the_cap_of_an_idle_gpu_does_not_count(work):
    """Until 12 s requests are in the engine, but the GPU waits for the CPU."""
    odd = spoilt(a_power(power_limit_w=400.0), "clock_event_reasons", lambda t, r: np.where(t < 12, _CAP | _IDLE, r))
    summary = summarise(a_cell(power_limit_w=400), {**work(), "power": odd})
    assert summary.metrics["cap_bound_ratio"] == 0
    assert cap_effect({"hardware.power_limit_w": 400.0}, summary.metrics) == "inert"
    bound = spoilt(odd, "clock_event_reasons", lambda t, r: np.where(t > 17, _CAP, r))
    summary = summarise(a_cell(power_limit_w=400), {**work(), "power": bound})
    assert summary.metrics["cap_bound_ratio"] == pytest.approx(0.5, abs=0.01)  # of 12 to 22 s


def test_without_clock_event_reasons_their_metrics_are_absent(work):
    unknown = spoilt(a_power(), "clock_event_reasons", lambda t, r: r * np.nan)
    summary = summarise(a_cell(), {**work(), "power": unknown})
    assert not {"cap_bound_ratio", "thermal_throttle_ratio", "power_brake_ratio"} & set(summary.metrics)


def test_a_limit_set_by_another_process_is_flagged(work):
    changed = spoilt(a_power(), "power_limit_w", lambda t, w: np.where(t > 15, 600.0, w))
    assert _codes(a_cell(), work(), changed) == ["limit_not_held"]
    assert _codes(a_cell(power_limit_w=500), work(), a_power()) == ["limit_not_held"]
    assert _codes(a_cell(power_limit_w=500), work(), a_power(power_limit_w=500.4)) == []


def test_a_limit_read_before_the_cell_began_does_not_count(work):
    """Limits are read twice a second, so the first samples may hold the limit of the previous cell."""
    at_once = work()
    for name in ("submitted_s", "arrival_s"):
        for table_name, times in at_once.items():
            if name in times.column_names:
                at_once[table_name] = spoilt(times, name, lambda t, was: was * 0, axis=name)
    for requested_w in (None, 700):
        for until_s, codes in ((0.45, []), (1.5, ["limit_not_held"])):
            stale = spoilt(a_power(), "power_limit_w", lambda t, w, to=until_s: np.where(t < to, 400.0, w))
            assert _codes(a_cell(power_limit_w=requested_w), at_once, stale) == codes


def test_a_clock_that_differs_from_the_locked_one_is_flagged(work):
    assert _codes(a_cell(sm_clock_mhz=1980), work(), a_power()) == []
    assert _codes(a_cell(sm_clock_mhz=1500), work(), a_power()) == ["clock_not_held"]
    assert _codes(a_cell(sm_clock_mhz=1500), work(), a_power(sm_clock_mhz=1200.0)) == ["clock_not_held"]
    assert _codes(a_cell(sm_clock_mhz=1500), work(), a_power(sm_clock_mhz=1200.0, clock_event_reasons=_CAP)) == []
    idle_low = spoilt(a_power(), "sm_clock_mhz", lambda t, mhz: np.where(t < 2, 345.0, mhz))
    assert _codes(a_cell(sm_clock_mhz=1980), work(), idle_low) == []
    waiting = spoilt(idle_low, "sm_clock_mhz", lambda t, mhz: np.where(t < 12, 345.0, mhz))
    assert _codes(a_cell(sm_clock_mhz=1980), work(), waiting) == ["clock_not_held"]
    reported_idle = spoilt(waiting, "clock_event_reasons", lambda t, r: np.where(t < 12, _IDLE, r))
    assert _codes(a_cell(sm_clock_mhz=1980), work(), reported_idle) == []


@pytest.mark.parametrize(
    ("own", "t_s", "codes"), [(False, 9.0, ["foreign_process"]), (True, 9.0, []), (None, 9.0, []), (False, 0.5, [])]
)
def test_a_foreign_process_in_the_window_is_flagged(work, own, t_s, codes):
    processes = pa.table({"t_s": [t_s], "device": ["GPU-0"], "pid": [4711], "own": [own]}, schema=GPU_PROCESSES)
    assert _codes(a_cell(), work(), a_power(), gpu_processes=processes) == codes


@pytest.mark.parametrize(("kind", "codes"), [("shared", ["shared_gpu"]), ("note", [])])
def test_a_mig_instance_has_valid_latencies_only(work, kind, codes):
    row = {"t_s": 0.0, "device": "GPU-0", "kind": kind, "detail": "all instances"}
    events = pa.Table.from_pylist([row], schema=SENSOR_EVENTS)
    summary = summarise(a_cell(), {**work(), "power": a_power(), "sensor_events": events})
    assert [(reason.code, reason.transient) for reason in summary.reasons] == [(code, False) for code in codes]
    assert summary.metrics["num_requests"] == 2


def test_requests_without_tokens_are_flagged(work):
    summary = summarise(a_cell(), {**work(output_tokens=0), "power": a_power()})
    (reason,) = summary.reasons
    assert reason.code == "requests_failed"
    assert "2 of 2 requests" in reason.detail


def test_without_a_requested_sensor_none_is_missing(work):
    assert _codes(a_cell(collectors={"power": "none"}), work(), a_power().slice(0, 0)) == []


def test_the_docs_have_the_table_of_reasons():
    assert as_markdown() in (_ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    code = "".join(path.read_text() for path in (_ROOT / "orchestrator").rglob("*.py"))
    used = set(re.findall(r'(?:because\(|code=)"(\w+)"', code))
    assert used == {kind.code for kind in REASONS}
