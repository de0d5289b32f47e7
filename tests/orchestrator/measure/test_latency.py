"""Latency, throughput and critical paths, against values computed by hand."""

import numpy as np
import pytest

from orchestrator.measure.latency import distribution_ms, request_metrics, workflow_metrics, workflow_times
from orchestrator.measure.window import Window


def test_counts_use_finishes_in_the_window_and_latencies_use_starts(series):
    requests = series(
        "requests",
        [
            {"request_id": "before", "submitted_s": -9, "first_token_s": -8, "finished_s": -1},
            {"request_id": "a", "submitted_s": 0, "first_token_s": 1, "finished_s": 2, "cached_tokens": 50},
            {"request_id": "b", "submitted_s": 1, "first_token_s": 4, "finished_s": 6},
            {"request_id": "c", "submitted_s": 5, "first_token_s": 7, "finished_s": 20},
        ],
    )
    iterations = series(
        "iterations",
        [
            {"start_s": 0, "end_s": 2, "n_iterations": 10, "decode_tokens": 20, "continued_tokens": 20},
            {"start_s": 2, "end_s": 10, "n_iterations": 10, "decode_tokens": 10, "continued_tokens": 5},
            {"start_s": 10, "end_s": 30, "n_iterations": 10, "decode_tokens": 10, "continued_tokens": 10},
        ],
    )
    metrics = request_metrics(
        requests, series("tokens", []), iterations, Window(rule="arrivals", start_s=0.0, end_s=10.0)
    )
    assert metrics["num_requests"] == 2
    assert metrics["num_output_tokens"] == 30
    assert metrics["request_throughput"] == pytest.approx(0.2)
    assert metrics["output_throughput"] == pytest.approx(3.0)
    assert metrics["total_token_throughput"] == pytest.approx(22.2)
    assert metrics["prefix_cache_hit_ratio"] == pytest.approx(0.25)
    assert metrics["mean_ttft_ms"] == pytest.approx(2000)
    assert metrics["mean_e2el_ms"] == pytest.approx((2 + 5 + 15) / 3 * 1e3)
    assert metrics["mean_tpot_ms"] == pytest.approx((100 + 200 + 1300) / 3)  # over 10 gaps each
    assert metrics["median_itl_ms"] == pytest.approx(200)  # 20 of 25 gaps took 0.2 s, 5 took 0.8 s
    assert metrics["p90_itl_ms"] == pytest.approx(800)
    assert metrics["mean_itl_ms"] == pytest.approx((20 * 200 + 5 * 800) / 25)


def test_one_output_token_has_no_tpot(series):
    requests = series(
        "requests", [{"request_id": "a", "submitted_s": 0, "first_token_s": 1, "finished_s": 1, "output_tokens": 1}]
    )
    iterations = series("iterations", [{"start_s": 0, "end_s": 1, "decode_tokens": 1}])
    metrics = request_metrics(
        requests, series("tokens", []), iterations, Window(rule="arrivals", start_s=0.0, end_s=2.0)
    )
    assert "mean_tpot_ms" not in metrics
    assert "mean_itl_ms" not in metrics


def test_percentiles_are_those_of_numpy():
    values_s = np.arange(1, 102) / 1000
    metrics = distribution_ms("e2el", values_s)
    assert metrics["median_e2el_ms"] == pytest.approx(51)
    assert metrics["p99_e2el_ms"] == pytest.approx(100)


def test_the_critical_path_follows_the_parent_that_finished_last(series):
    requests = series(
        "requests",
        [
            {"request_id": "plan", "submitted_s": 1, "first_token_s": 2, "finished_s": 3},
            {"request_id": "fast", "submitted_s": 3, "first_token_s": 4, "finished_s": 5},
            {"request_id": "slow", "submitted_s": 3.5, "first_token_s": 4, "finished_s": 9},
            {"request_id": "join", "submitted_s": 9, "first_token_s": 10, "finished_s": 11},
        ],
    )
    parents = {"plan": [], "fast": ["plan"], "slow": ["plan"], "join": ["fast", "slow"]}
    ends = {"plan": 3, "fast": 5, "slow": 9, "join": 11}
    steps = series(
        "steps",
        [
            {"workflow_id": "w", "request_id": n, "step": n, "parents": parents[n], "finished_s": ends[n]}
            for n in parents
        ],
    )
    times = workflow_times(requests, steps)
    assert times.critical_path_s.tolist() == [2 + 5.5 + 2]
    metrics = workflow_metrics(times, Window(rule="workflows", start_s=0.0, end_s=11.0))
    assert metrics["mean_workflow_ms"] == pytest.approx(11_000)
    assert metrics["orchestration_overhead_ms"] == pytest.approx(1500)  # 1 s before plan, 0.5 s before slow
    assert metrics["workflow_throughput"] == pytest.approx(1 / 11)


def test_a_workflow_ends_in_the_window_with_its_last_request(series):
    """In real time the workflow receives the answer after the engine's finish, which counts for the window."""
    requests = series(
        "requests", [{"request_id": name, "submitted_s": 1, "first_token_s": 2, "finished_s": 4} for name in "ab"]
    )
    steps = series("steps", [{"request_id": name, "finished_s": 4.5} for name in "ab"])
    metrics = workflow_metrics(workflow_times(requests, steps), Window(rule="steady_state", start_s=2.0, end_s=4.0))
    assert metrics["num_workflows"] == 2
    assert metrics["mean_workflow_ms"] == pytest.approx(4500)
    assert metrics["orchestration_overhead_ms"] == pytest.approx(1500)  # 1 s before the submit, 0.5 s after the answer
