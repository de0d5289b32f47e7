"""Energies from samples of a sensor, against known power."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_power import PlayedSensor, Power, sine, square, truth_j

from orchestrator.measure.aliasing import aliasing_metrics, aliasing_reasons
from orchestrator.measure.columns import Columns, by_device
from orchestrator.measure.energy import energy_metrics
from orchestrator.measure.gpu_energy import GpuEnergy, gpu_energy
from orchestrator.measure.window import Window
from orchestrator.records.series import REQUESTS

_NO_REQUESTS = Columns(REQUESTS.empty_table())
_WHOLE = (-1.0, 40.0)


def _read(power: Power, sensor: PlayedSensor | None = None) -> GpuEnergy:
    (samples,) = by_device((sensor or PlayedSensor()).columns(power, _WHOLE))
    return gpu_energy(samples, computed=False)


def _window(start_s: float, length_s: float) -> Window:
    return Window(rule="arrivals", start_s=start_s, end_s=start_s + length_s)


@settings(max_examples=40, deadline=None)
@given(
    mean_w=st.floats(100, 600),
    swing=st.floats(0, 0.7),
    frequency_hz=st.floats(0.01, 1.0),
    phase=st.floats(0, 6.28),
    start_s=st.floats(0, 10),
    length_s=st.floats(10, 29),
    first_s=st.floats(0, 0.1),
    seed_phase_s=st.floats(0, 0.1),
)
def test_counter_and_integral_are_each_within_one_percent_below_1_hz(
    mean_w, swing, frequency_hz, phase, start_s, length_s, first_s, seed_phase_s
):
    power = sine(mean_w, swing * mean_w, frequency_hz, phase)
    gpu = _read(power, PlayedSensor(phase_s=first_s, counter_phase_s=seed_phase_s))
    edges = (start_s, start_s + length_s)
    truth = truth_j(power, edges)
    assert gpu.counted(edges)
    assert gpu.energy_j(edges) == pytest.approx(truth, rel=0.01)
    assert gpu.integral_j(edges) == pytest.approx(truth, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(
    period_s=st.floats(1.0, 9.0),
    low_w=st.floats(60, 200),
    high_w=st.floats(200, 700),
    start_s=st.floats(0, 10),
    length_s=st.floats(0.5, 20),
    update_s=st.sampled_from([0.02, 0.1]),
    first_s=st.floats(0, 0.1),
)
def test_the_error_of_the_counter_is_within_its_uncertainty(
    period_s, low_w, high_w, start_s, length_s, update_s, first_s
):
    power = square(low_w, high_w, period_s)
    gpu = _read(power, PlayedSensor(counter_s=update_s, counter_phase_s=first_s))
    edges = (start_s, start_s + length_s)
    off_j = abs(gpu.energy_j(edges) - truth_j(power, edges))
    late_j = 2 * update_s * (high_w - low_w)  # of what is shown, how old it is at most: no reader can know
    assert off_j <= gpu.uncertainty_j(edges) + late_j
    assert gpu.uncertainty_j(edges) <= 2 * high_w * 0.08


def test_steps_of_power_between_updates_hardly_change_the_energy():
    power = square(80, 500, 2.73)  # a multiple of the period would be seen at the same phases again and again
    metrics = energy_metrics([_read(power)], _NO_REQUESTS, _window(1.234, 20))
    truth = truth_j(power, (1.234, 21.234))
    assert metrics["total_gpu_energy_j"] == pytest.approx(truth, rel=0.005)
    assert metrics["integral_gpu_energy_j"] == pytest.approx(truth, rel=0.01)
    assert abs(metrics["energy_gap_ratio"]) < 0.01
    assert 0 < metrics["energy_uncertainty_j"] < 0.01 * truth


@pytest.mark.parametrize("length_s", [0.5, 10.0])
def test_uncertainty_of_the_edges_is_large_in_a_short_window(length_s):
    metrics = energy_metrics([_read(sine(300, 100, 0.5))], _NO_REQUESTS, _window(3.0, length_s))
    assert (metrics["energy_uncertainty_j"] > 0.05 * metrics["total_gpu_energy_j"]) == (length_s < 1)


def test_idle_power_is_measured_without_requests(series):
    power = lambda t_s: np.where((t_s > 2) & (t_s < 20), 400.0, 90.0)  # noqa: E731
    requests = series("requests", [{"request_id": "a", "submitted_s": 2, "first_token_s": 3, "finished_s": 20}])
    metrics = energy_metrics([_read(power)], requests, _window(2.0, 18.0))
    assert metrics["idle_gpu_power_w"] == pytest.approx(90, rel=0.01)
    assert metrics["active_gpu_energy_j"] == pytest.approx(18 * 310, rel=0.01)
    assert metrics["cell_gpu_energy_j"] == pytest.approx(18 * 400 + 2 * 90, rel=0.01)


def test_short_pauses_do_not_measure_idle_power(series):
    """The sensor lags, so pauses of 0.3 s would give a wrong idle power."""
    rows = [
        {"request_id": f"r{i}", "submitted_s": 2 * i, "first_token_s": 2 * i + 1, "finished_s": 2 * i + 1.7}
        for i in range(20)
    ]
    metrics = energy_metrics([_read(sine(300, 0, 1))], series("requests", rows), _window(0.0, 38.0))
    assert "idle_gpu_power_w" not in metrics
    assert "idle_energy_j" not in metrics


def test_short_pauses_have_the_idle_power_of_long_ones(series):
    power = lambda t_s: np.where((t_s > 2) & (t_s < 32) & (t_s % 1 < 0.7), 400.0, 90.0)  # noqa: E731
    rows = [
        {"request_id": f"r{i}", "submitted_s": 2 + i, "first_token_s": 2 + i + 0.1, "finished_s": 2 + i + 0.7}
        for i in range(30)
    ]
    metrics = energy_metrics([_read(power)], series("requests", rows), _window(2.0, 29.7))
    assert metrics["idle_energy_j"] == pytest.approx(29 * 0.3 * 90, rel=0.02)


def test_a_window_that_was_not_sampled_to_its_end_has_no_energy():
    metrics = energy_metrics([_read(sine(300, 0, 1))], _NO_REQUESTS, _window(20.0, 21.0))
    assert not {"total_gpu_energy_j", "integral_gpu_energy_j", "avg_gpu_power_w", "energy_gap_ratio"} & set(metrics)


def _bursts(series, period_s: float, busy: float):
    """Return iterations that take the share ``busy`` of each period, as an engine under such a load records them."""
    starts = np.arange(0, 38, period_s)
    rows = [{"start_s": s, "end_s": s + busy * period_s, "prefill_tokens": 1} for s in starts.tolist()]
    return series("iterations", rows)


@pytest.mark.parametrize("period_s", [0.1, 0.099, 0.102, 0.05, 0.1 / 3, 0.25])
def test_work_that_repeats_near_the_sensors_period_is_flagged(series, period_s):
    gpu = _read(square(100, 500, period_s))
    metrics = aliasing_metrics([gpu], _bursts(series, period_s, 0.5), _window(5, 25), {"avg_gpu_power_w": 300.0})
    (reason,) = aliasing_reasons(metrics)
    assert (reason.code, reason.transient) == ("power_near_sensor_period", False)


@pytest.mark.parametrize("period_s", [0.1001, 0.102])
def test_samples_that_beat_with_the_load_are_flagged_without_iterations(series, period_s):
    gpu = _read(square(100, 500, period_s))
    metrics = aliasing_metrics([gpu], series("iterations", []), _window(5, 30), {})
    assert [reason.code for reason in aliasing_reasons(metrics)] == ["power_near_sensor_period"]


@pytest.mark.parametrize("period_s", [1.0, 2.73, 0.137])
def test_other_periods_are_not_flagged(series, period_s):
    gpu = _read(square(100, 500, period_s))
    metrics = aliasing_metrics([gpu], _bursts(series, period_s, 0.5), _window(5, 30), {"avg_gpu_power_w": 300.0})
    assert set(metrics) == {"sensor_aliasing_ratio", "energy_gap_spread_ratio"}
    assert aliasing_reasons(metrics) == ()


def test_steady_decoding_is_not_flagged(series):
    """Iterations of 24 ms without pauses: power hardly falls between them."""
    draw = np.random.default_rng(1)
    ends = np.cumsum(draw.normal(0.025, 0.001, 1500))
    rows = [{"start_s": end - 0.024, "end_s": end} for end in ends.tolist()]
    metrics = aliasing_metrics([_read(sine(300, 20, 0.3))], series("iterations", rows), _window(2, 30), {})
    assert aliasing_reasons(metrics) == ()
