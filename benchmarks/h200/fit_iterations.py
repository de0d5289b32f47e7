"""What iterations of an engine asked of its GPUs and how long each took, from the series that any record keeps."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from benchmarks.h200.fit_context import Contexts, contexts_of
from orchestrator.attribution.work import members_of
from orchestrator.measure.columns import Columns, Floats

_JOINED_S = 2e-3
"""An iteration that begins so soon after another is its successor: what lies between is the host's work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Iterations:
    """One entry for each row of the series; all but ``begin_s``, ``end_s`` and ``n`` are of one iteration of the row.

    Iterations do not overlap: each begins when the one before has ended, where the engine had work, so ``time_s`` is
    the spacing of their ends. With asynchronous scheduling that is the time of the GPU, whenever it was planned.
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
        """How long an iteration took. Units: s."""
        return (self.end_s - self.begin_s) / self.n

    def __len__(self) -> int:
        return len(self.n)


def iterations_of(series: Mapping[str, pa.Table]) -> Iterations:
    """The iterations of a cell on one engine, in the order of their ends.

    Who was scheduled tells what was read; where that series was not kept, prompts and times of requests do
    (`benchmarks.h200.fit_context`).
    """
    columns = Columns(series["iterations"])
    begin_s, end_s = _edges(columns)
    n = columns.floats("n_iterations")
    found = _scheduled(series, n) if "scheduled" in series else None
    if found is None:
        found = contexts_of(Columns(series["requests"]), columns)
    took = end_s > begin_s
    arrays = {
        "begin_s": begin_s,
        "end_s": end_s,
        "n": n,
        "tokens": found.tokens / n,
        "sampled": columns.floats("decode_tokens") / n,
        "context": found.read_tokens / n,
        "pairs": found.pairs / n,
        "prefill_pairs": found.prefill_pairs / n,
        "has_prefill": (columns.floats("prefill_tokens") > 0).astype(np.float64),
    }
    return Iterations(**{name: values[took] for name, values in arrays.items()})


def _edges(columns: Columns) -> tuple[Floats, Floats]:
    """When the GPU began and ended each iteration, as far as the scheduler can tell."""
    end_s = np.maximum.accumulate(columns.floats("end_s"))
    before_s = np.concatenate([[-np.inf], end_s[:-1]])
    waited = np.concatenate([[0.0], columns.floats("n_waiting")[:-1]])
    start_s = np.maximum(columns.floats("start_s"), before_s)
    had_work = (columns.floats("continued_tokens") > 0) | (waited > 0)
    joined = (start_s - before_s < _JOINED_S) | (had_work & np.isfinite(before_s))
    return np.where(joined, before_s, start_s), end_s


def _scheduled(series: Mapping[str, pa.Table], n: Floats) -> Contexts:
    members = members_of(series["scheduled"], series["requests"].column("request_id"), n.astype(np.int64))

    def total(values: Floats) -> Floats:
        return np.bincount(members.run, values, len(n)).astype(np.float64)

    return Contexts(
        tokens=total(members.tokens),
        read_tokens=total(members.read_tokens),
        pairs=total(members.pairs),
        prefill_pairs=total(members.pairs * members.is_prefill),
    )
