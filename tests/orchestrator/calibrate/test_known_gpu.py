"""The fit recovers the coefficients of a GPU that is known, and predicts cells that it has not seen."""

import numpy as np
import pytest
from known_gpu import KnownGpu, a_cell, measured_sweep, true_gpu

from benchmarks.played_sensor import Sensor
from orchestrator.calibrate.cells import Selection, read_cells
from orchestrator.calibrate.errors import (
    CONFIGURATION_LEFT_OUT,
    PRIOR,
    WORKFLOW_LEFT_OUT,
    cross_validate,
    jackknife_error,
)
from orchestrator.calibrate.fit import coefficient, fit_hardware, fit_priors, prior_of
from orchestrator.calibrate.summary import summarise_fit
from orchestrator.store.sweep import SweepStore

METRICS = ("median_itl_ms", "output_throughput", "avg_gpu_power_w", "gpu_energy_j_per_output_token")


def some_cells():
    chats = [a_cell(batch) for batch in (8, 24, 64, 128)]
    return [*chats, a_cell(8, "copilot"), a_cell(16, "copilot", "engine.enable_prefix_caching=false")]


def cells_of(root, gpu="NVIDIA H200"):
    return read_cells([SweepStore.open(root)], Selection(gpu=gpu))[0]


def fitted(root, gpu="NVIDIA H200"):
    cells = cells_of(root, gpu)
    prior = prior_of(cells[0].cell.gpu, cells)
    fit = fit_hardware(cells, prior)
    return summarise_fit(cells, [], prior, fit, cross_validate(cells, prior, fit))


def parameters_of(root):
    """Without cross-validation, which takes most of the time."""
    cells = cells_of(root)
    fit = fit_hardware(cells, cells[0].cell.gpu)
    return {prior.name: coefficient(fit.hardware, prior.name) for prior in fit_priors(cells)}


def error(summary, kind, metric, measure="mean_absolute"):
    return abs(summary["errors"][kind][metric][measure])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return measured_sweep(tmp_path_factory.mktemp("measured"), some_cells(), KnownGpu())


@pytest.fixture(scope="module")
def known(measured):
    return fitted(measured)


@pytest.mark.slow
def test_cells_that_a_fit_has_not_seen_are_predicted_better_than_by_the_prior(known):
    assert known["cells"] == known["configurations"] == known["cells_with_power"] == 6
    for metric in METRICS:
        assert error(known, CONFIGURATION_LEFT_OUT, metric, "worst") < 0.03
        assert error(known, WORKFLOW_LEFT_OUT, metric, "worst") < 0.1
        assert 4 * error(known, CONFIGURATION_LEFT_OUT, metric) < error(known, PRIOR, metric), metric


@pytest.mark.slow
def test_determined_parameters_are_recovered_and_others_stay_at_the_prior(known):
    truth = true_gpu(a_cell(8), KnownGpu()).calibration
    well = {name: one for name, one in known["parameters"].items() if one["determined"] == "well"}
    assert {"flop_efficiency", "kv_bandwidth_efficiency", "memory_power_w", "compute_power_w"} <= well.keys()
    for name, one in well.items():
        assert one["value"] == pytest.approx(getattr(truth, name), rel=0.06), name
        assert abs(one["value"] - getattr(truth, name)) < 3 * one["standard_error"], name
    exponent = known["parameters"]["roofline_exponent"]
    assert exponent["determined"] == "weakly"
    assert exponent["value"] == pytest.approx(exponent["prior"], rel=0.1)
    assert known["held"]["expert_flop_efficiency"] == 0.355
    assert known["idle_power_w"] == {"value": pytest.approx(100, rel=0.01), "prior": 77, "cells": 6}


@pytest.mark.slow
def test_the_time_of_an_iteration_is_known_better_than_single_parameters(known):
    decode = known["iterations"][0]["time_ms"]
    assert decode["standard_error"] / decode["value"] < 0.005
    weights = known["parameters"]["weight_bandwidth_efficiency"]
    assert weights["standard_error"] / weights["value"] > 0.05
    assert max(abs(one["misfit"]["decode_time"]) for one in known["by_cell"]) < 0.01


@pytest.mark.slow
def test_the_series_scheduled_is_not_needed(measured, tmp_path):
    compact = measured_sweep(tmp_path, some_cells(), KnownGpu(keep=("iterations", "power", "requests")))
    expected = parameters_of(measured)
    for name, value in parameters_of(compact).items():
        assert value == pytest.approx(expected[name], rel=0.02), name


@pytest.mark.exhaustive
def test_a_mixture_of_experts_on_two_gpus_of_another_kind_is_fitted(tmp_path):
    options = ("hardware=h100_sxm", "model=qwen3_30b_a3b", "engine.tensor_parallel_size=2")
    cells = [a_cell(batch, "chat", *options, workflows=max(16, batch)) for batch in (8, 32, 128)]
    factors = {"expert_bandwidth_efficiency": 0.8, "moe_layer_overhead_s": 1.3, "memory_power_w": 0.85}
    summary = fitted(measured_sweep(tmp_path, cells, KnownGpu(factors=factors)), "NVIDIA H100 80GB HBM3")
    assert {"expert_flop_efficiency", "allreduce_latency_s"} <= summary["parameters"].keys()
    assert summary["idle_power_w"]["value"] == pytest.approx(91, rel=0.01)
    for metric in METRICS:
        assert error(summary, CONFIGURATION_LEFT_OUT, metric) < 0.5 * error(summary, PRIOR, metric), metric


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("gpu", "limit"),
    [
        (KnownGpu(sensor=Sensor(counter="sampled")), 0.015),
        (KnownGpu(sensor=Sensor(counter="none")), 0.015),
        (KnownGpu(noise_ratio=0.15), 0.04),
        (KnownGpu(power_limit_w=450), 0.04),
    ],
    ids=["sampled counter", "no counter", "noisy iterations", "power limit not recorded"],
)
def test_a_worse_sensor_or_gpu_is_fitted(gpu, limit, tmp_path):
    summary = fitted(measured_sweep(tmp_path, some_cells(), gpu))
    for metric in METRICS:
        assert error(summary, CONFIGURATION_LEFT_OUT, metric) < limit, metric


@pytest.mark.exhaustive
def test_a_gpu_with_costs_of_another_form_has_a_larger_error(known, tmp_path):
    strange = fitted(measured_sweep(tmp_path, some_cells(), KnownGpu(strange=True)))
    metric = "gpu_energy_j_per_output_token"
    assert error(strange, CONFIGURATION_LEFT_OUT, metric) > 3 * error(known, CONFIGURATION_LEFT_OUT, metric)
    assert error(strange, CONFIGURATION_LEFT_OUT, metric) < error(strange, PRIOR, "avg_gpu_power_w")


def test_without_power_only_times_are_fitted_and_repeats_are_left_out_together(tmp_path):
    cells = [a_cell(batch, "chat", f"repeat={n}", workflows=16) for batch in (8, 16) for n in (0, 1)]
    summary = fitted(measured_sweep(tmp_path, cells, KnownGpu(keep=("iterations", "requests"))))
    assert (summary["cells"], summary["configurations"], summary["cells_with_power"]) == (4, 2, 0)
    kinds = [one["errors"].keys() for one in summary["by_cell"]]
    assert all(CONFIGURATION_LEFT_OUT in one and WORKFLOW_LEFT_OUT not in one for one in kinds)
    assert "memory_power_w" not in summary["parameters"]
    assert summary["held"]["memory_power_w"] == 520
    assert summary["idle_power_w"] == {"value": 77, "prior": 77, "cells": 0}


def test_the_jackknife_error_of_means_is_the_standard_error_of_the_mean():
    values = np.random.default_rng(0).normal(size=40)
    left_out = [np.delete(values, index).mean() for index in range(len(values))]
    assert jackknife_error(left_out) == pytest.approx(values.std(ddof=1) / np.sqrt(len(values)))
    assert jackknife_error([1.0]) == 0
