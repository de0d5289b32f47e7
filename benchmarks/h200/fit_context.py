"""What iterations read, told from prompts and times of requests: for records that do not keep who was scheduled."""

from dataclasses import dataclass

import numpy as np

from orchestrator.attribution.work import Ints
from orchestrator.measure.columns import Columns, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """Work of rows of iterations, the whole row's: see `orchestrator.attribution.work.Members`. Shape (rows,)."""

    tokens: Floats
    read_tokens: Floats
    pairs: Floats
    prefill_pairs: Floats


def contexts_of(requests: Columns, iterations: Columns) -> Contexts:
    """The work of every row of ``iterations``.

    From its first token to its last a request has a token in each iteration. Prompts are computed first come, first
    served, so prompt tokens of iterations, in order, are those of requests in the order of their first tokens; where
    both sums differ (preemptions, requests of nobody) the latter are stretched.
    """
    n = iterations.floats("n_iterations")
    prefill = iterations.floats("prefill_tokens")
    first, last = (_rows(requests.floats(name), iterations) for name in ("first_token_s", "finished_s"))
    count, decode_read = _decoding(requests, n, first, last)
    prefill_read, prefill_pairs = _prompts(requests, prefill, first)
    return Contexts(
        tokens=prefill + n * count,
        read_tokens=decode_read + prefill_read,
        pairs=decode_read + prefill_pairs,
        prefill_pairs=prefill_pairs,
    )


def _rows(seen_s: Floats, iterations: Columns) -> Ints:
    """The rows in which requests had a token; a client sees it a little later."""
    rows: Ints = np.searchsorted(iterations.floats("end_s"), seen_s, side="right") - 1
    return np.maximum(rows, 0)


def _decoding(requests: Columns, n: Floats, first: Ints, last: Ints) -> tuple[Floats, Floats]:
    """Sequences that decode in each iteration of a row, and the tokens they read in all of them."""
    done = np.cumsum(n)
    base = requests.floats("prompt_tokens") + 1 - done[first]
    count, bases = (_sums_between(first + 1, last + 1, values, len(n)) for values in (np.ones(len(base)), base))
    before = done - n
    read = n * (bases + count * before) + count * n * (n - 1) / 2
    return count, read


def _sums_between(begin: Ints, end: Ints, values: Floats, n_rows: int) -> Floats:
    """For each row the sum of the values whose range, its end left out, holds it."""
    steps = np.zeros(n_rows + 1)
    np.add.at(steps, begin, values)
    np.add.at(steps, np.maximum(begin, end), -values)
    return np.cumsum(steps)[:-1]


def _prompts(requests: Columns, prefill: Floats, first: Ints) -> tuple[Floats, Floats]:
    """Tokens read for prompts in each row, and pairs of a prompt token and one it attends to."""
    read, pairs = np.zeros(len(prefill)), np.zeros(len(prefill))
    cached = np.nan_to_num(requests.floats("cached_tokens"))
    order = np.lexsort((requests.floats("scheduled_s"), first))
    new = (requests.floats("prompt_tokens") - cached)[order]
    if not len(new) or new.sum() <= 0 or prefill.sum() <= 0:
        return read, pairs
    of_requests = np.concatenate([[0.0], np.cumsum(new) * prefill.sum() / new.sum()])
    of_rows = np.concatenate([[0.0], np.cumsum(prefill)])
    edges = np.unique(np.concatenate([of_requests, of_rows]))
    middle, length = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    owner = np.clip(np.searchsorted(of_requests, middle) - 1, 0, len(new) - 1)
    row = np.clip(np.searchsorted(of_rows, middle) - 1, 0, len(prefill) - 1)
    before = cached[order][owner] + edges[:-1] - of_requests[owner]
    np.add.at(read, row, before + length)
    np.add.at(pairs, row, length * before + length * (length + 1) / 2)
    return read, pairs
