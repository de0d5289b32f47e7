"""Who was in an iteration: the rows of the series ``scheduled`` as work."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.measure.columns import Columns, Floats

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """One entry for each sequence scheduled in a run of iterations; shape (members,).

    ``run`` is a row of the iterations, ``request`` one of the requests or -1 where it is none of the cell's.
    ``is_prefill`` tells who computed a prompt (or computed it again) from who decoded. ``read_tokens`` are those whose
    keys and values were read, ``pairs`` the pairs of a computed token and one it attends to.
    """

    run: Ints
    request: Ints
    is_prefill: Bools
    tokens: Floats
    sampled: Floats
    read_tokens: Floats
    pairs: Floats


def members_of(scheduled: pa.Table, request_ids: pa.ChunkedArray, n_iterations: Ints, first_row: int = 0) -> Members:
    """The work of every row of ``scheduled``.

    In a run of n iterations each decoding sequence has one token more to read in each iteration, so what it reads is
    the sum of an arithmetic series; a row of a real engine is one iteration.

    Args:
        scheduled: in the schema `orchestrator.records.series.SCHEDULED`.
        request_ids: of the requests, in the order of their rows.
        n_iterations: of each row of the iterations; shape (runs,).
        first_row: of the iterations, of the engine these are of.
    """
    columns = Columns(scheduled)
    run = columns.floats("iteration").astype(np.int64) - first_row
    prefill, sampled, before = (columns.floats(name) for name in ("prefill_tokens", "decode_tokens", "context_tokens"))
    n = n_iterations[run].astype(np.float64)
    tokens = np.where(prefill > 0, prefill, np.maximum(sampled, n))
    known = pc.index_in(scheduled.column("request_id"), value_set=request_ids.combine_chunks())
    return Members(
        run=run,
        request=pc.fill_null(known, -1).to_numpy().astype(np.int64),
        is_prefill=prefill > 0,
        tokens=tokens,
        sampled=sampled,
        read_tokens=n * before + tokens * (n + 1) / 2,
        pairs=tokens * before + tokens * (tokens + 1) / 2,
    )
