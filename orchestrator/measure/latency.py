"""Latency and throughput of requests and workflows of a window, under the keys of ``vllm bench serve``."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from orchestrator.measure.columns import Columns, Floats
from orchestrator.measure.iterations import token_gaps, tokens_generated
from orchestrator.measure.reasons import because
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason

_PERCENTILES = {"median": 50, "p90": 90, "p95": 95, "p99": 99}
_MAY_BE_UNKNOWN = ("cached_tokens", "n_preemptions")


def request_metrics(requests: Columns, tokens: Columns, iterations: Columns, window: Window) -> dict[str, float]:
    """Return counts and throughputs of the requests that finished in the window, and TTFT, TPOT, ITL and latency."""
    inside = window.holds(requests.floats("finished_s"))
    output_tokens, prompt_tokens = (requests.floats(name)[inside] for name in ("output_tokens", "prompt_tokens"))
    generated = tokens_generated(tokens, iterations, window)
    counts = {"num_requests": float(inside.sum())}
    cached_tokens, n_preemptions = (float(requests.floats(name)[inside].sum()) for name in _MAY_BE_UNKNOWN)
    if prompt_tokens.sum() > 0 and not np.isnan(cached_tokens):
        counts["prefix_cache_hit_ratio"] = cached_tokens / float(prompt_tokens.sum())
    if not np.isnan(n_preemptions):
        counts["num_preemptions"] = n_preemptions
    rates = {
        "request_throughput": counts["num_requests"],
        "total_token_throughput": float((prompt_tokens + output_tokens).sum()),
    }
    if generated is not None:
        counts["num_output_tokens"] = rates["output_throughput"] = generated
    return (
        counts
        | {name: value / window.length_s for name, value in rates.items() if window.length_s > 0}
        | _request_latencies(requests, window)
        | distribution_ms("itl", *token_gaps(tokens, iterations, window))
    )


def _request_latencies(requests: Columns, window: Window) -> dict[str, float]:
    names = ("submitted_s", "first_token_s", "finished_s", "output_tokens")
    submitted_s, first_s, last_s, output_tokens = map(requests.floats, names)
    sampled = window.samples(submitted_s, last_s)
    several = sampled & (output_tokens > 1)
    return (
        distribution_ms("ttft", (first_s - submitted_s)[sampled])
        | distribution_ms("tpot", (last_s - first_s)[several] / (output_tokens[several] - 1))
        | distribution_ms("e2el", (last_s - submitted_s)[sampled])
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowTimes:
    """One entry a workflow, in order of first appearance. Units: s, shape (workflows,).

    ``answered_s`` is when the engine finished the last request, on the clock of the windows; ``finished_s`` is when the
    workflow received that answer, a little later on a real engine. ``critical_path_s`` sums the
    engine's submit-to-finish times along the chain of last-finishing parents.
    """

    arrival_s: Floats
    answered_s: Floats
    finished_s: Floats
    critical_path_s: Floats


def workflow_metrics(times: WorkflowTimes, window: Window) -> dict[str, float]:
    """Return count, throughput, latency and orchestration overhead of the workflows that finished in the window."""
    metrics = {"num_workflows": float(window.holds(times.answered_s).sum())}
    if window.length_s > 0 and metrics["num_workflows"] > 0:
        metrics["workflow_throughput"] = metrics["num_workflows"] / window.length_s
    sampled = window.samples(times.arrival_s, times.answered_s)
    latency_s = (times.finished_s - times.arrival_s)[sampled]
    if len(latency_s) > 0:
        metrics["orchestration_overhead_ms"] = float(np.mean(latency_s - times.critical_path_s[sampled]) * 1e3)
    return metrics | distribution_ms("workflow", latency_s)


def workflow_times(requests: Columns, steps: Columns) -> WorkflowTimes:
    """Return the times of every workflow that ran."""
    engine = {
        request: (submitted_s, answered_s)
        for request, submitted_s, answered_s in zip(
            *map(requests.values, ("request_id", "submitted_s", "finished_s")), strict=True
        )
    }
    by_workflow: dict[str, dict[str, _Step]] = defaultdict(dict)
    names = ("workflow_id", "step", "request_id", "parents", "arrival_s", "finished_s")
    for workflow, step, request, parents, arrival_s, finished_s in zip(*map(steps.values, names), strict=True):
        by_workflow[workflow][step] = _Step(parents, arrival_s, finished_s, *engine[request])
    rows = [_times(workflow_steps) for workflow_steps in by_workflow.values()]
    arrival_s, answered_s, finished_s, critical_s = np.asarray(rows, dtype=np.float64).reshape(-1, 4).T
    return WorkflowTimes(arrival_s=arrival_s, answered_s=answered_s, finished_s=finished_s, critical_path_s=critical_s)


@dataclass(frozen=True, slots=True)
class _Step:
    parents: list[str]
    arrival_s: float
    finished_s: float
    submitted_s: float
    answered_s: float


def _times(steps: dict[str, _Step]) -> tuple[float, float, float, float]:
    last: _Step | None = max(steps.values(), key=lambda step: step.finished_s)
    arrival_s = min(step.arrival_s for step in steps.values())
    answered_s = max(step.answered_s for step in steps.values())
    finished_s = max(step.finished_s for step in steps.values())
    critical_s = 0.0
    while last is not None:
        critical_s += last.answered_s - last.submitted_s
        last = max((steps[name] for name in last.parents), key=lambda step: step.finished_s, default=None)
    return arrival_s, answered_s, finished_s, critical_s


def send_delay_metrics(requests: Columns, steps: Columns, window: Window) -> dict[str, float]:
    """Return the delays from due time to submit of first steps of workflows that were due in the window.

    Later steps are due when their parents have ended; their delay is part of the orchestration overhead.
    """
    submitted_s = dict(zip(requests.values("request_id"), requests.values("submitted_s"), strict=True))
    columns = (steps.values(name) for name in ("request_id", "parents", "arrival_s"))
    first = [(submitted_s[request], due_s) for request, parents, due_s in zip(*columns, strict=True) if not parents]
    sent_s, due_s = np.asarray(first, dtype=np.float64).reshape(-1, 2).T
    return distribution_ms("send_delay", (sent_s - due_s)[window.holds(due_s)])


def client_reasons(metrics: dict[str, float], max_send_delay_ms: float) -> tuple[Reason, ...]:
    """Return why the load was not the requested one; empty if it was."""
    delay_ms = metrics.get("p99_send_delay_ms", 0.0)
    if delay_ms <= max_send_delay_ms:
        return ()
    detail = (
        f"1 % of the workflows were sent {delay_ms:.3g} ms late or later; protocol.max_send_delay_ms is "
        f"{max_send_delay_ms:g}: the load generator, not the engine, set the pace"
    )
    return (because("client_limited", detail),)


def answer_reasons(requests: Columns, window: Window) -> tuple[Reason, ...]:
    """Return how many requests were answered without a token; empty if none. A rejected request fails its cell."""
    inside = window.holds(requests.floats("finished_s"))
    n_empty = int((inside & (requests.floats("output_tokens") < 1)).sum())
    if n_empty == 0:
        return ()
    detail = f"{n_empty} of {int(inside.sum())} requests of the window returned no token; see the engine's log"
    return (because("requests_failed", detail),)


def distribution_ms(name: str, values_s: Floats, weights: Floats | None = None) -> dict[str, float]:
    """Return mean and percentiles under ``{mean,median,p90,p95,p99}_<name>_ms``; empty without values."""
    if len(values_s) == 0:
        return {}
    values_ms = values_s * 1e3
    metrics = {f"mean_{name}_ms": float(np.average(values_ms, weights=weights))}
    for word, percent in _PERCENTILES.items():
        if weights is None:
            metrics[f"{word}_{name}_ms"] = float(np.percentile(values_ms, percent))
        else:
            metrics[f"{word}_{name}_ms"] = _weighted_percentile(values_ms, weights, percent)
    return metrics


def _weighted_percentile(values: Floats, weights: Floats, percent: float) -> float:
    """Return the smallest value that at least ``percent`` of the weight does not exceed."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    index = int(np.searchsorted(reached, reached[-1] * percent / 100))
    return float(values[order][min(index, len(values) - 1)])
