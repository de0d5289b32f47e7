"""Energy of a window, idle energy, and the reasons that make the energy invalid."""

import pytest

from orchestrator.measure.columns import by_device
from orchestrator.measure.energy import cpu_energy_metrics, energy_metrics, energy_ratios, energy_reasons, energy_source
from orchestrator.measure.gpu_energy import gpu_energy
from orchestrator.measure.iterations import batch_metrics
from orchestrator.measure.window import Window
from orchestrator.spec.protocol import ProtocolSpec

_WINDOW = Window(rule="arrivals", start_s=0.0, end_s=10.0)


def _gpus(series, counter_scale: float = 1.0):
    samples = [(0, 50, 0), (2, 50, 100), (2, 300, 100), (6, 300, 1300), (6, 50, 1300), (10, 50, 1500)]
    power = series("power", [{"t_s": t, "power_w": w, "energy_j": j * counter_scale} for t, w, j in samples])
    return [gpu_energy(gpu, computed=True) for gpu in by_device(power)]


def _requests(series):
    return series("requests", [{"request_id": "a", "submitted_s": 2, "first_token_s": 3, "finished_s": 6}])


def _iterations(series):
    return series(
        "iterations",
        [
            {"start_s": 2, "end_s": 3, "energy_j": 300, "prefill_energy_j": 300, "sm_clock_mhz": 900,
             "power_capped": True, "kv_usage_ratio": 0.3},
            {"start_s": 3, "end_s": 6, "energy_j": 900, "decode_energy_j": 900, "n_running": 5},
        ],
    )  # fmt: skip


def test_total_idle_and_active_energy(series):
    metrics = energy_metrics(_gpus(series), _requests(series), _WINDOW) | batch_metrics(_iterations(series), _WINDOW)
    assert metrics["total_gpu_energy_j"] == pytest.approx(1500)
    assert metrics["integral_gpu_energy_j"] == pytest.approx(1500)
    assert metrics["cell_gpu_energy_j"] == pytest.approx(1300)  # to the last finish
    assert metrics["idle_energy_j"] == pytest.approx(300)  # 6 s at 50 W
    assert metrics["idle_gpu_power_w"] == pytest.approx(50)
    assert metrics["active_gpu_energy_j"] == pytest.approx(1000)
    assert metrics["prefill_energy_j"] + metrics["decode_energy_j"] + metrics["idle_energy_j"] == pytest.approx(1500)
    assert metrics["energy_gap_ratio"] == pytest.approx(0.0)
    assert "energy_uncertainty_j" not in metrics  # computed power is exact
    assert metrics["peak_gpu_power_w"] == pytest.approx(300)
    assert metrics["avg_sm_clock_mhz"] == pytest.approx((900 + 3 * 1000) / 4)
    assert metrics["cap_bound_ratio"] == pytest.approx(0.25)
    assert metrics["mean_num_running"] == pytest.approx(4.0)
    assert metrics["peak_kv_usage_ratio"] == pytest.approx(0.3)
    assert energy_source(_gpus(series), _WINDOW) == "computed"


def test_a_counter_that_disagrees_makes_the_cell_invalid(series):
    metrics = energy_metrics(_gpus(series, counter_scale=0.9), _requests(series), _WINDOW)
    (reason,) = energy_reasons(metrics, ProtocolSpec())
    assert (reason.code, reason.transient) == ("counter_integral_gap", True)
    assert "+11.1%" in reason.detail
    assert energy_reasons(metrics, ProtocolSpec(max_energy_gap_ratio=0.12)) == ()
    assert energy_reasons({"energy_gap_ratio": 0.04}, ProtocolSpec()) == ()


def test_a_large_uncertainty_of_the_edges_is_flagged():
    metrics = {"total_gpu_energy_j": 150.0, "energy_uncertainty_j": 15.0}
    (reason,) = energy_reasons(metrics, ProtocolSpec())
    assert (reason.code, reason.transient) == ("energy_uncertain", False)
    assert "15 J of 150 J" in reason.detail
    assert energy_reasons({**metrics, "energy_uncertainty_j": 7.0}, ProtocolSpec()) == ()


def test_without_power_there_is_no_energy_not_zero(series):
    assert energy_metrics([], _requests(series), _WINDOW) == {}
    assert energy_ratios({"num_requests": 3.0}) == {}
    assert energy_source([], _WINDOW) is None


def test_ratios_name_their_denominators():
    metrics = {"total_gpu_energy_j": 100.0, "num_output_tokens": 50.0, "num_requests": 4.0, "num_workflows": 0.0}
    ratios = energy_ratios(metrics | {"mean_e2el_ms": 2000.0})
    assert ratios == {
        "gpu_energy_j_per_output_token": 2.0,
        "gpu_energy_j_per_request": 25.0,
        "energy_delay_product_js": 50.0,
    }


def test_packages_add_up_and_memory_is_apart(series):
    rows = [
        {"t_s": t, "device": device, "energy_j": watts * (t + 1)}
        for device, watts in (("package-0", 100), ("package-1", 80), ("dram-0", 10))
        for t in (-1, 5, 11)
    ]
    metrics = cpu_energy_metrics(series("cpu_power", rows), _WINDOW)
    assert metrics == {"cpu_energy_j": pytest.approx(1800), "dram_energy_j": pytest.approx(100)}


def test_a_cpu_that_was_not_read_to_the_end_is_missing(series):
    rows = [{"t_s": t, "device": device, "energy_j": t + 1} for device in ("package-0", "dram-0") for t in (-1, 11)]
    cut = [row | {"t_s": min(row["t_s"], 9)} if row["device"] == "dram-0" else row for row in rows]
    assert set(cpu_energy_metrics(series("cpu_power", cut), _WINDOW)) == {"cpu_energy_j"}
    assert cpu_energy_metrics(series("cpu_power", []), _WINDOW) == {}
