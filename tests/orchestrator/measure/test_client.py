"""A load generator that is late makes the cell invalid: the engine was not asked what the cell says."""

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
    found = send_delay_metrics(series("requests", requests), series("steps", steps), _WINDOW)
    assert found["mean_send_delay_ms"] == pytest.approx(20)
    assert found["p99_send_delay_ms"] == pytest.approx(49.2)


def test_later_steps_wait_for_their_parents_not_for_the_client(series):
    requests, steps = _sent(series, (0.001,))
    requests.append({"request_id": "w0/b", "submitted_s": 9.0, "first_token_s": 10, "finished_s": 11})
    steps.append({"request_id": "w0/b", "parents": ["a"], "arrival_s": 0, "finished_s": 11})
    found = send_delay_metrics(series("requests", requests), series("steps", steps), _WINDOW)
    assert found["p99_send_delay_ms"] == pytest.approx(1)


def test_what_was_due_in_the_window_counts_however_late_it_was_sent(series):
    requests, steps = _sent(series, (9.0, 0.0, 3.0, 9.0))
    window = Window(rule="arrivals", start_s=1.0, end_s=2.0)
    found = send_delay_metrics(series("requests", requests), series("steps", steps), window)
    assert found["mean_send_delay_ms"] == pytest.approx(1500)


def test_beyond_the_bound_the_cell_is_client_limited_and_tried_again():
    (reason,) = client_reasons({"p99_send_delay_ms": 61.3}, 50.0)
    assert reason.code == "client_limited"
    assert reason.transient
    assert "61.3 ms" in reason.detail
    assert "protocol.max_send_delay_ms is 50" in reason.detail
    assert client_reasons({"p99_send_delay_ms": 50.0}, 50.0) == ()
    assert client_reasons({}, 50.0) == ()
