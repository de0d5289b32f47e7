"""What iterations asked of the GPUs, in seconds, bytes, FLOPs and samples: all GPUs of an engine together."""

from dataclasses import dataclass

import numpy as np

from orchestrator.attribution.members import Members
from orchestrator.costmodel.work import ModelWork
from orchestrator.measure.columns import Floats

TERMS = ("seconds", "bytes", "flops", "samples")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Work of runs and of their members, by `TERMS`.

    ``total`` is that of each run, shape (runs, 4); ``shared`` the part of it that every sequence needs whoever else is
    there: busy time and weights, shape (runs, 4); ``own`` that of each member, shape (members, 4). For each run
    ``total`` is ``shared`` and the sum of its members' ``own``.
    """

    total: Floats
    shared: Floats
    own: Floats


def work_of(model: ModelWork, members: Members, n_iterations: Floats, length_s: Floats) -> Work:
    """The work of runs of ``n_iterations`` iterations that took ``length_s``; equations in docs/simulation.md."""
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
    """Of iterations with so many tokens, which choose their experts evenly; 0 for a dense model."""
    if not model.n_moe_layers:
        return np.zeros_like(tokens)
    counts, which = np.unique(np.rint(tokens).astype(np.int64), return_inverse=True)
    return np.array([model.expert_bytes(count) for count in counts.tolist()])[which]
