"""Whether the load generator kept its own times: how late the first request of each workflow was sent."""

import numpy as np

from orchestrator.measure.columns import Columns
from orchestrator.measure.latency import distribution_ms
from orchestrator.measure.reasons import because
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason


def send_delay_metrics(requests: Columns, steps: Columns, window: Window) -> dict[str, float]:
    """Submit less due time of the steps that begin a workflow, of those that were due in the window.

    Later steps are due when their parents have ended; what delays them is orchestration, and counted there.
    """
    submitted_s = dict(zip(requests.values("request_id"), requests.values("submitted_s"), strict=True))
    columns = (steps.values(name) for name in ("request_id", "parents", "arrival_s"))
    first = [(submitted_s[request], due_s) for request, parents, due_s in zip(*columns, strict=True) if not parents]
    sent_s, due_s = np.asarray(first, dtype=np.float64).reshape(-1, 2).T
    return distribution_ms("send_delay", (sent_s - due_s)[window.holds(due_s)])


def client_reasons(metrics: dict[str, float], max_send_delay_ms: float) -> tuple[Reason, ...]:
    """Why the load was not the one that was asked for; empty if it was."""
    delay_ms = metrics.get("p99_send_delay_ms", 0.0)
    if delay_ms <= max_send_delay_ms:
        return ()
    detail = (
        f"1 % of the workflows were sent {delay_ms:.3g} ms late or later; protocol.max_send_delay_ms is "
        f"{max_send_delay_ms:g}: the load generator, not the engine, set the pace"
    )
    return (because("client_limited", detail),)
