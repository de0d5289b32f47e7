"""Scheduled work and duration of each iteration of a measured cell, from the series of its record."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from orchestrator.attribution.work import Ints, members_of
from orchestrator.measure.columns import Columns, Floats, running_sum

_CONTIGUOUS_S = 2e-3
"""A gap between iterations up to this length is work of the host, and counts as part of the next iteration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Iterations:
    """One entry for each row of the series ``iterations``; shape (rows,).

    A row holds ``n`` iterations from ``begin_s`` to ``end_s``; all other fields are means of one iteration of the row.
    Rows do not overlap: while the engine has work, each begins when the one before has ended. So ``time_s`` is the
    spacing of their ends, which with asynchronous scheduling is the time of the GPU.
    """

    begin_s: Floats
    end_s: Floats
    n: Floats
    tokens: Floats
    sampled: Floats
    context: Floats
    pairs: Floats
    prefill_pairs: Floats
    has_prefill: Floats

    @property
    def time_s(self) -> Floats:
        """Duration of one iteration. Units: s."""
        return (self.end_s - self.begin_s) / self.n

    def __len__(self) -> int:
        return len(self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowWork:
    """Work of whole rows, in the terms of `orchestrator.attribution.work.Members`; shape (rows,)."""

    tokens: Floats
    read_tokens: Floats
    pairs: Floats
    prefill_pairs: Floats


def read_iterations(series: Mapping[str, pa.Table]) -> Iterations:
    """Return the iterations of a cell on one engine, in the order of their ends.

    Args:
        series: ``iterations`` and ``requests``. The context that each iteration read comes from ``scheduled`` if the
            record has it, otherwise from the prompts and times of the requests.
    """
    columns = Columns(series["iterations"])
    begin_s, end_s = _row_edges(columns)
    n = columns.floats("n_iterations")
    if "scheduled" in series:
        work = _scheduled_work(series, n)
    else:
        work = reconstruct_work(Columns(series["requests"]), columns)
    arrays = {
        "begin_s": begin_s,
        "end_s": end_s,
        "n": n,
        "tokens": work.tokens / n,
        "sampled": columns.floats("decode_tokens") / n,
        "context": work.read_tokens / n,
        "pairs": work.pairs / n,
        "prefill_pairs": work.prefill_pairs / n,
        "has_prefill": (columns.floats("prefill_tokens") > 0).astype(np.float64),
    }
    took_time = end_s > begin_s
    return Iterations(**{name: values[took_time] for name, values in arrays.items()})


def _row_edges(columns: Columns) -> tuple[Floats, Floats]:
    """Return when the GPU began and ended each row. Units: s."""
    end_s = np.maximum.accumulate(columns.floats("end_s"))
    before_s = np.concatenate([[-np.inf], end_s[:-1]])
    waiting_before = np.concatenate([[0.0], columns.floats("n_waiting")[:-1]])
    start_s = np.maximum(columns.floats("start_s"), before_s)
    had_work = (columns.floats("continued_tokens") > 0) | (waiting_before > 0)
    contiguous = (start_s - before_s < _CONTIGUOUS_S) | (had_work & np.isfinite(before_s))
    return np.where(contiguous, before_s, start_s), end_s


def _scheduled_work(series: Mapping[str, pa.Table], n: Floats) -> _RowWork:
    members = members_of(series["scheduled"], series["requests"].column("request_id"), n.astype(np.int64))

    def total(values: Floats) -> Floats:
        return np.bincount(members.run, values, len(n)).astype(np.float64)

    return _RowWork(
        tokens=total(members.tokens),
        read_tokens=total(members.read_tokens),
        pairs=total(members.pairs),
        prefill_pairs=total(members.pairs * members.is_prefill),
    )


def reconstruct_work(requests: Columns, iterations: Columns) -> _RowWork:
    """Return the work of every row, for records without the series ``scheduled``.

    A request has one token in each iteration from its first token to its last. Prompts are computed first come, first
    served, so the prompt tokens of the iterations, in order, belong to the requests in the order of their first
    tokens. If the two sums differ (preemptions, requests of other clients), those of the requests are scaled.
    """
    n = iterations.floats("n_iterations")
    prefill = iterations.floats("prefill_tokens")
    first, last = (_rows_at(requests.floats(name), iterations) for name in ("first_token_s", "finished_s"))
    n_decoding, decode_read = _decode_work(requests, n, first, last)
    prefill_read, prefill_pairs = _prompt_work(requests, prefill, first)
    return _RowWork(
        tokens=prefill + n * n_decoding,
        read_tokens=decode_read + prefill_read,
        pairs=decode_read + prefill_pairs,
        prefill_pairs=prefill_pairs,
    )


def _rows_at(received_s: Floats, iterations: Columns) -> Ints:
    """Return the row whose token a client received at each time, which is shortly after the row's end."""
    rows: Ints = np.searchsorted(iterations.floats("end_s"), received_s, side="right") - 1
    return np.maximum(rows, 0)


def _decode_work(requests: Columns, n: Floats, first: Ints, last: Ints) -> tuple[Floats, Floats]:
    """Return the sequences that decode in each iteration of a row, and the tokens they read in the whole row."""
    done = np.cumsum(n)
    base = requests.floats("prompt_tokens") + 1 - done[first]
    count, bases = (_sums_over_rows(first + 1, last + 1, values, len(n)) for values in (np.ones(len(base)), base))
    before = done - n
    read = n * (bases + count * before) + count * n * (n - 1) / 2
    return count, read


def _sums_over_rows(begin: Ints, end: Ints, values: Floats, n_rows: int) -> Floats:
    """Return for each row the sum of the values whose range, ``end`` excluded, contains it."""
    steps = np.zeros(n_rows + 1)
    np.add.at(steps, begin, values)
    np.add.at(steps, np.maximum(begin, end), -values)
    return np.cumsum(steps)[:-1]


def _prompt_work(requests: Columns, prefill: Floats, first: Ints) -> tuple[Floats, Floats]:
    """Return the tokens read for prompts in each row, and the pairs of a prompt token and one it attends to."""
    read, pairs = np.zeros(len(prefill)), np.zeros(len(prefill))
    cached = np.nan_to_num(requests.floats("cached_tokens"))
    order = np.lexsort((requests.floats("scheduled_s"), first))
    new = (requests.floats("prompt_tokens") - cached)[order]
    if not len(new) or new.sum() <= 0 or prefill.sum() <= 0:
        return read, pairs
    of_requests = running_sum(new) * prefill.sum() / new.sum()
    of_rows = running_sum(prefill)
    edges = np.unique(np.concatenate([of_requests, of_rows]))
    middle, length = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    request = np.clip(np.searchsorted(of_requests, middle) - 1, 0, len(new) - 1)
    row = np.clip(np.searchsorted(of_rows, middle) - 1, 0, len(prefill) - 1)
    before = cached[order][request] + edges[:-1] - of_requests[request]
    np.add.at(read, row, before + length)
    np.add.at(pairs, row, length * before + length * (length + 1) / 2)
    return read, pairs
