"""Iterations and tokens of a window and of its blocks: batches, cache, clocks, energy by kind of work, token gaps."""

import numpy as np

from orchestrator.measure.columns import Columns, Floats, done_by, overlap_ratio
from orchestrator.measure.window import Window


def batch_metrics(iterations: Columns, window: Window) -> dict[str, float]:
    """Return sums, and means over busy time, of the iterations in the window; empty if none were recorded."""
    edges = window.edges
    start_s, end_s = iterations.floats("start_s"), iterations.floats("end_s")
    share = overlap_ratio(start_s, end_s, edges)
    if not (share > 0).any() or window.length_s == 0:
        return {}
    busy_s = share * (end_s - start_s)
    metrics = {"peak_kv_usage_ratio": float(np.max(iterations.floats("kv_usage_ratio"), where=share > 0, initial=0.0))}
    for name in ("prefill_energy_j", "decode_energy_j"):
        energy_j = iterations.floats(name)
        if not np.isnan(energy_j).any():
            metrics[name] = float(np.sum(share * energy_j))
    if busy_s.sum() > 0:
        metrics["mean_num_running"] = float(np.average(iterations.floats("n_running"), weights=busy_s))
        cost_s = iterations.floats("record_cost_s")
        if not np.isnan(cost_s).any():
            metrics["scheduler_record_cost_ratio"] = float(np.sum(share * cost_s) / busy_s.sum())
        for name, column in (("avg_sm_clock_mhz", "sm_clock_mhz"), ("cap_bound_ratio", "power_capped")):
            values = iterations.floats(column)
            if not np.isnan(values).any():
                metrics[name] = float(np.average(values, weights=busy_s))
    return metrics


def tokens_generated(tokens: Columns, iterations: Columns, window: Window) -> float | None:
    """Return the output tokens of the window, by times of arrival or by the iterations; None if neither is known."""
    if len(tokens):
        return float(window.holds(tokens.floats("t_s")).sum())
    if not len(iterations):
        return None
    share = overlap_ratio(iterations.floats("start_s"), iterations.floats("end_s"), window.edges)
    return float(np.sum(share * iterations.floats("decode_tokens")))


def token_gaps(tokens: Columns, iterations: Columns, window: Window) -> tuple[Floats, Floats]:
    """Return gaps between successive tokens of a request, and the weight of each. Units: s; shape (gaps,).

    With arrival times of tokens: the gaps that end in the window; tokens that arrive together count once, as in
    ``vllm bench serve``. Otherwise one gap is the time of one iteration, weighted by its tokens that are not the first
    of a request.
    """
    if len(tokens):
        ends_s, gap_s = _arrival_gaps(tokens)
        inside = window.holds(ends_s)
        return gap_s[inside], np.ones(int(inside.sum()))
    start_s, end_s = iterations.floats("start_s"), iterations.floats("end_s")
    weights = iterations.floats("continued_tokens") * overlap_ratio(start_s, end_s, window.edges)
    used = weights > 0
    return (end_s - start_s)[used] / iterations.floats("n_iterations")[used], weights[used]


def block_tokens(edges_s: Floats, tokens: Columns, iterations: Columns) -> tuple[Floats, Floats, Floats] | None:
    """Return the output tokens of each block, the sum of the gaps between tokens in ms, and the number of gaps.

    Counted as by `tokens_generated` and `token_gaps`; None if neither tokens nor iterations are known.

    Args:
        edges_s: of the blocks; one more than blocks.
        tokens: series ``tokens``.
        iterations: series ``iterations``.
    """
    if len(tokens):
        ends_s, gap_s = _arrival_gaps(tokens)
        n_tokens, _ = np.histogram(tokens.floats("t_s"), edges_s)
        sum_ms, _ = np.histogram(ends_s, edges_s, weights=gap_s * 1e3)
        n_gaps, _ = np.histogram(ends_s, edges_s)
        return n_tokens.astype(np.float64), sum_ms, n_gaps.astype(np.float64)
    if not len(iterations):
        return None
    start_s, end_s = iterations.floats("start_s"), iterations.floats("end_s")
    continued = iterations.floats("continued_tokens")
    gap_ms = (end_s - start_s) / iterations.floats("n_iterations") * 1e3
    amounts = np.stack([iterations.floats("decode_tokens"), continued, continued * gap_ms], axis=1)
    n_tokens, n_gaps, sum_ms = np.diff(done_by(start_s, end_s, edges_s) @ amounts, axis=0).T
    return n_tokens, sum_ms, n_gaps


def _arrival_gaps(tokens: Columns) -> tuple[Floats, Floats]:
    """Return the ends and lengths of the gaps between tokens of a request that did not arrive together. Units: s."""
    arrived_s, request = tokens.floats("t_s"), tokens.strings("request_id").astype(str)
    gap_s = np.diff(arrived_s)
    counts = (request[1:] == request[:-1]) & (gap_s > 0)
    return arrived_s[1:][counts], gap_s[counts]
