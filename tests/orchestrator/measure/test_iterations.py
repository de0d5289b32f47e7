"""Tokens with times of arrival: throughput and gaps by these times, not by iterations."""

import numpy as np
import pytest

from orchestrator.measure.iterations import token_gaps, tokens_generated
from orchestrator.measure.latency import request_metrics
from orchestrator.measure.window import Window

_WINDOW = Window(rule="arrivals", start_s=1.0, end_s=3.0)


def _tokens(series):
    arrived_s = {"a": (0.5, 1.0, 2.0, 2.0, 3.5), "b": (0.9, 1.1, 1.4)}
    return series("tokens", [{"request_id": name, "t_s": t_s} for name, times in arrived_s.items() for t_s in times])


def test_tokens_count_when_they_arrive_in_the_window(series):
    assert tokens_generated(_tokens(series), series("iterations", []), _WINDOW) == 5


def test_gaps_end_in_the_window_and_tokens_that_arrive_together_count_once(series):
    gaps_s, weights = token_gaps(_tokens(series), series("iterations", []), _WINDOW)
    assert sorted(gaps_s) == pytest.approx([0.2, 0.3, 0.5, 1.0])  # a: 0.5 and 1.0, the pair at 2.0 once; b: 0.2, 0.3
    assert np.array_equal(weights, np.ones(4))


def test_arrival_times_take_precedence_over_iterations(series):
    iterations = series("iterations", [{"start_s": 1, "end_s": 3, "decode_tokens": 99, "continued_tokens": 99}])
    requests = series("requests", [{"request_id": "b", "submitted_s": 1.0, "first_token_s": 1.1, "finished_s": 1.4}])
    metrics = request_metrics(requests, _tokens(series), iterations, _WINDOW)
    assert metrics["output_throughput"] == pytest.approx(5 / 2)
    assert metrics["mean_itl_ms"] == pytest.approx(500)


def test_without_tokens_and_iterations_throughput_is_absent(series):
    requests = series("requests", [{"request_id": "b", "submitted_s": 1.0, "first_token_s": 1.1, "finished_s": 1.4}])
    metrics = request_metrics(requests, series("tokens", []), series("iterations", []), _WINDOW)
    assert metrics["num_requests"] == 1
    assert not {"output_throughput", "num_output_tokens", "mean_itl_ms"} & set(metrics)
