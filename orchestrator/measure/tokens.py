"""Output tokens of a window: how many, and the gaps between them."""

import numpy as np

from orchestrator.measure.columns import Columns, Floats
from orchestrator.measure.overlap import overlap_ratio
from orchestrator.measure.window import Window


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
