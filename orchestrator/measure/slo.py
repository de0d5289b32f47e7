"""Goodput and attainment of objectives: pure functions of the series, so that any objective can be evaluated later."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from orchestrator.measure.breakdown import by_tenant, tenant_key
from orchestrator.measure.columns import Columns, Flags, Floats
from orchestrator.measure.window import Window
from orchestrator.spec.settings import Slo


def objective_metrics(series: Mapping[str, pa.Table], window: Window, slo: Slo) -> dict[str, float]:
    """Return goodput and attainment of the requests and workflows of the window, for the limits that are set.

    A request is good if it is within all limits of a request, as in ``vllm bench serve --goodput``; a request with one
    output token has no TPOT and meets any. Both metrics cover the requests and workflows of `Window.samples`: goodput
    is the number of good ones over the window's length, attainment their share. Without any, attainment is absent. If
    there are several tenants, each has the same metrics under its own keys (`orchestrator.measure.breakdown`).

    Args:
        series: ``requests`` and ``steps``.
        window: of the cell.
        slo: the objective.
    """
    metrics = _objective_metrics(series, window, slo)
    for tenant, own in by_tenant(series).items():
        metrics |= {tenant_key(tenant, key): value for key, value in _objective_metrics(own, window, slo).items()}
    return metrics


def _objective_metrics(series: Mapping[str, pa.Table], window: Window, slo: Slo) -> dict[str, float]:
    metrics: dict[str, float] = {}
    requests = Columns(series["requests"])
    if slo.limits_requests:
        sampled = window.samples(requests.floats("submitted_s"), requests.floats("finished_s"))
        good = _good_requests(requests, slo)[sampled]
        metrics |= _goodput_and_attainment("request_goodput", "slo_attainment_ratio", good, window)
    if slo.workflow_ms is not None:
        arrival_s, answered_s, finished_s = _workflow_spans(requests, Columns(series["steps"]))
        good = ((finished_s - arrival_s) * 1e3 <= slo.workflow_ms)[window.samples(arrival_s, answered_s)]
        metrics |= _goodput_and_attainment("workflow_goodput", "workflow_slo_attainment_ratio", good, window)
    return metrics


def _workflow_spans(requests: Columns, steps: Columns) -> tuple[Floats, Floats, Floats]:
    """Return arrival, the engine's last finish and the end of every workflow, as in `orchestrator.measure.latency`."""
    workflows, of_step = np.unique(steps.strings("workflow_id").astype(str), return_inverse=True)
    of_request = np.searchsorted(workflows, requests.strings("workflow_id").astype(str))
    arrival_s = np.full(len(workflows), np.inf)
    answered_s, finished_s = -arrival_s, -arrival_s
    np.minimum.at(arrival_s, of_step, steps.floats("arrival_s"))
    np.maximum.at(answered_s, of_request, requests.floats("finished_s"))
    np.maximum.at(finished_s, of_step, steps.floats("finished_s"))
    return arrival_s, answered_s, finished_s


def _good_requests(requests: Columns, slo: Slo) -> Flags:
    """Return whether each request is within the limits of a request; shape (requests,)."""
    names = ("submitted_s", "first_token_s", "finished_s", "output_tokens")
    submitted_s, first_s, last_s, output_tokens = map(requests.floats, names)
    limited = (
        (slo.ttft_ms, first_s - submitted_s),
        (slo.tpot_ms, (last_s - first_s) / np.maximum(output_tokens - 1, 1)),
        (slo.e2el_ms, last_s - submitted_s),
    )
    good = np.ones(len(requests), dtype=bool)
    for limit_ms, latency_s in limited:
        if limit_ms is not None:
            good &= latency_s * 1e3 <= limit_ms
    return good


def _goodput_and_attainment(goodput: str, attainment: str, good: Flags, window: Window) -> dict[str, float]:
    metrics = {goodput: float(good.sum()) / window.length_s} if window.length_s > 0 else {}
    return metrics | ({attainment: float(good.mean())} if len(good) else {})
