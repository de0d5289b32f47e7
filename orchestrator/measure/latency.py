"""Latency and throughput of a window, under the keys of `vllm bench serve`."""

import numpy as np

from orchestrator.measure.columns import Columns, Floats
from orchestrator.measure.tokens import token_gaps, tokens_generated
from orchestrator.measure.window import Window
from orchestrator.measure.workflows import WorkflowTimes

_PERCENTILES = {"median": 50, "p90": 90, "p95": 95, "p99": 99}
_MAY_BE_UNKNOWN = ("cached_tokens", "n_preemptions")


def distribution_ms(name: str, values_s: Floats, weights: Floats | None = None) -> dict[str, float]:
    """Mean and percentiles under ``{mean,median,p90,p95,p99}_<name>_ms``; empty without values."""
    if len(values_s) == 0:
        return {}
    values_ms = values_s * 1e3
    found = {f"mean_{name}_ms": float(np.average(values_ms, weights=weights))}
    for word, percent in _PERCENTILES.items():
        if weights is None:
            found[f"{word}_{name}_ms"] = float(np.percentile(values_ms, percent))
        else:
            found[f"{word}_{name}_ms"] = _weighted_percentile(values_ms, weights, percent)
    return found


def request_metrics(requests: Columns, tokens: Columns, iterations: Columns, window: Window) -> dict[str, float]:
    """Counts and throughputs of requests that finished in the window; TTFT, TPOT, ITL and end-to-end latency of it."""
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


def workflow_metrics(times: WorkflowTimes, window: Window) -> dict[str, float]:
    """Count and throughput of workflows that finished in the window; their latency and orchestration overhead."""
    found = {"num_workflows": float(window.holds(times.answered_s).sum())}
    if window.length_s > 0 and found["num_workflows"] > 0:
        found["workflow_throughput"] = found["num_workflows"] / window.length_s
    sampled = window.samples(times.arrival_s, times.answered_s)
    latency_s = (times.finished_s - times.arrival_s)[sampled]
    if len(latency_s) > 0:
        found["orchestration_overhead_ms"] = float(np.mean(latency_s - times.critical_path_s[sampled]) * 1e3)
    return found | distribution_ms("workflow", latency_s)


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


def _weighted_percentile(values: Floats, weights: Floats, percent: float) -> float:
    """The smallest value that at least ``percent`` of the weight does not exceed."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    index = int(np.searchsorted(reached, reached[-1] * percent / 100))
    return float(values[order][min(index, len(values) - 1)])
