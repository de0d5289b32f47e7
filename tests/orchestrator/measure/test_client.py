"""A late load generator makes the cell invalid: the engine did not receive the load of the cell."""

import pytest

from orchestrator.measure.latency import client_reasons, send_delay_metrics
from orchestrator.measure.window import Window

_WINDOW = Window(rule="workflows", start_s=0.0, end_s=100.0)


def _sent(series, delays_s):
    requests = [
        {"request_id": f"w{i}/a", "submitted_s": i + d, "first_token_s": i + 5, "finished_s": i + 6}
        for i, d in enumerate(delays_s)
    ]
    steps = [{"request_id": f"w{i}/a", "arrival_s": i, "finished_s": i + 6} for i in range(len(delays_s))]
    return requests, steps


def test_the_delay_is_from_due_to_submitted(series):
    requests, steps = _sent(series, (0.0, 0.010, 0.050))
    metrics = send_delay_metrics(series("requests", requests), series("steps", steps), _WINDOW)
    assert metrics["mean_send_delay_ms"] == pytest.approx(20)
    assert metrics["p99_send_delay_ms"] == pytest.approx(49.2)


def test_later_steps_do_not_count_as_send_delay(series):
    requests, steps = _sent(series, (0.001,))
    requests.append({"request_id": "w0/b", "submitted_s": 9.0, "first_token_s": 10, "finished_s": 11})
    steps.append({"request_id": "w0/b", "parents": ["a"], "arrival_s": 0, "finished_s": 11})
    metrics = send_delay_metrics(series("requests", requests), series("steps", steps), _WINDOW)
    assert metrics["p99_send_delay_ms"] == pytest.approx(1)


def test_workflows_due_in_the_window_count_even_if_sent_after_it(series):
    requests, steps = _sent(series, (9.0, 0.0, 3.0, 9.0))
    window = Window(rule="arrivals", start_s=1.0, end_s=2.0)
    metrics = send_delay_metrics(series("requests", requests), series("steps", steps), window)
    assert metrics["mean_send_delay_ms"] == pytest.approx(1500)


def test_above_the_limit_the_cell_is_client_limited_and_transient():
    (reason,) = client_reasons({"p99_send_delay_ms": 61.3}, 50.0)
    assert reason.code == "client_limited"
    assert reason.transient
    assert "61.3 ms" in reason.detail
    assert "protocol.max_send_delay_ms is 50" in reason.detail
    assert client_reasons({"p99_send_delay_ms": 50.0}, 50.0) == ()
    assert client_reasons({}, 50.0) == ()
