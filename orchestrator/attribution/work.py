"""Work of iterations in seconds, bytes, FLOPs and samples, of all GPUs of an engine together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.costmodel.work import ModelWork
from orchestrator.measure.columns import Columns, Flags, Floats

TERMS = ("seconds", "bytes", "flops", "samples")
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Work of runs and of their members, by `TERMS`.

    ``total`` is that of each run, shape (runs, 4). ``shared`` is the part of it that does not depend on the number of
    sequences: busy time and weights, shape (runs, 4). ``own`` is that of each member, shape (members, 4). For each run
    ``total`` is ``shared`` plus the sum of its members' ``own``.
    """

    total: Floats
    shared: Floats
    own: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """One entry for each sequence scheduled in a run of iterations; shape (members,).

    ``run`` is a row of the iterations, ``request`` a row of the requests, or -1 for a request of another client.
    ``is_prefill`` is true if the sequence computed a prompt (or computed it again), false if it decoded.
    ``read_tokens`` is the number of tokens whose keys and values were read, ``pairs`` the number of pairs of a computed
    token and one it attends to.
    """

    run: Ints
    request: Ints
    is_prefill: Flags
    tokens: Floats
    sampled: Floats
    read_tokens: Floats
    pairs: Floats


def work_of(model: ModelWork, members: Members, n_iterations: Floats, length_s: Floats) -> Work:
    """Return the work of runs of ``n_iterations`` iterations that took ``length_s`` (docs/simulation.md)."""
    n_runs, n_gpus = len(length_s), model.n_gpus
    flops = (
        members.tokens * (model.flops_per_token + model.expert_flops_per_token)
        + members.sampled * model.flops_per_sample
        + members.pairs * model.flops_per_pair
    )
    none = np.zeros_like(flops)
    own = n_gpus * np.stack([none, members.read_tokens * model.kv_bytes_per_token, flops, members.sampled], axis=1)
    tokens = np.bincount(members.run, members.tokens, n_runs)
    weight_bytes = n_iterations * (model.weight_bytes + _expert_bytes(model, tokens / n_iterations))
    idle = np.zeros(n_runs)
    shared = n_gpus * np.stack([length_s, weight_bytes, idle, idle], axis=1)
    sums = [np.bincount(members.run, own[:, term], n_runs) for term in range(len(TERMS))]
    return Work(total=shared + np.stack(sums, axis=1), shared=shared, own=own)


def _expert_bytes(model: ModelWork, tokens: Floats) -> Floats:
    """Return expert weights read by iterations with ``tokens`` tokens, routed evenly; 0 for a dense model."""
    if not model.n_moe_layers:
        return np.zeros_like(tokens)
    counts, which = np.unique(np.rint(tokens).astype(np.int64), return_inverse=True)
    return np.array([model.expert_bytes(count) for count in counts.tolist()])[which]


def members_of(scheduled: pa.Table, request_ids: pa.ChunkedArray, n_iterations: Ints, first_row: int = 0) -> Members:
    """Return the work of every row of ``scheduled``.

    In a run of n iterations each decoding sequence reads one token more in each iteration, so the tokens it reads are
    the sum of an arithmetic series; a row of a real engine is one iteration.

    Args:
        scheduled: in the schema `orchestrator.records.series.SCHEDULED`.
        request_ids: of the requests, in the order of their rows.
        n_iterations: of each row of the iterations; shape (runs,).
        first_row: first row of this engine's iterations among those of all engines.
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
