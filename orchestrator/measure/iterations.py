"""What the engine's iterations say of a window: batches, cache, clocks, and energy by kind of work."""

import numpy as np

from orchestrator.measure.columns import Columns, Floats, overlap_ratio
from orchestrator.measure.window import Window


def batch_metrics(iterations: Columns, window: Window) -> dict[str, float]:
    """Busy-time means and sums of the iterations in the window; empty where none were recorded."""
    edges = (window.start_s, window.end_s)
    start_s, end_s = iterations.floats("start_s"), iterations.floats("end_s")
    share = overlap_ratio(start_s, end_s, edges)
    if not (share > 0).any() or window.length_s == 0:
        return {}
    busy_s = share * (end_s - start_s)
    found = {"peak_kv_usage_ratio": float(np.max(iterations.floats("kv_usage_ratio"), where=share > 0, initial=0.0))}
    for name in ("prefill_energy_j", "decode_energy_j"):
        energy_j = iterations.floats(name)
        if not np.isnan(energy_j).any():
            found[name] = float(np.sum(share * energy_j))
    if busy_s.sum() > 0:
        found["mean_num_running"] = float(np.average(iterations.floats("n_running"), weights=busy_s))
        cost_s = iterations.floats("record_cost_s")
        if not np.isnan(cost_s).any():
            found["scheduler_record_cost_ratio"] = float(np.sum(share * cost_s) / busy_s.sum())
        for name, column in (("avg_sm_clock_mhz", "sm_clock_mhz"), ("cap_bound_ratio", "power_capped")):
            values = iterations.floats(column)
            if not np.isnan(values).any():
                found[name] = float(np.average(values, weights=busy_s))
    return found


def tokens_generated(tokens: Columns, iterations: Columns, window: Window) -> float | None:
    """How many tokens the window saw: by the time each arrived, else by the iterations; None where neither is known."""
    if len(tokens):
        return float(window.holds(tokens.floats("t_s")).sum())
    if not len(iterations):
        return None
    share = overlap_ratio(iterations.floats("start_s"), iterations.floats("end_s"), (window.start_s, window.end_s))
    return float(np.sum(share * iterations.floats("decode_tokens")))


def token_gaps(tokens: Columns, iterations: Columns, window: Window) -> tuple[Floats, Floats]:
    """Gaps between successive tokens of a request, and the weight of each. Units: s; shape (gaps,).

    Where tokens were seen to arrive, the gaps that end in the window; tokens that came together count once, as in
    ``vllm bench serve``. Else runs of iterations: one gap is one iteration's time, weighted by the tokens that followed
    another.
    """
    if len(tokens):
        arrived_s, request = tokens.floats("t_s"), tokens.strings("request_id").astype(str)
        gap_s = np.diff(arrived_s)
        counts = (request[1:] == request[:-1]) & (gap_s > 0) & window.holds(arrived_s[1:])
        return gap_s[counts], np.ones(int(counts.sum()))
    start_s, end_s = iterations.floats("start_s"), iterations.floats("end_s")
    weights = iterations.floats("continued_tokens") * overlap_ratio(start_s, end_s, (window.start_s, window.end_s))
    used = weights > 0
    return (end_s - start_s)[used] / iterations.floats("n_iterations")[used], weights[used]
