"""Estimated time and energy of cells, from their tokens and the modelled cost of an iteration.

A closed form, not a simulation: prompts are computed one request at a time, outputs with a constant batch. It shows
whether a sweep takes minutes or days; it is not a result.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.costmodel.cost import CostModel
from orchestrator.costmodel.work import Batch
from orchestrator.spec.cell import Cell
from orchestrator.spec.workload import Workload, workload_key, workload_of
from workflows.load import ClosedLoad

_LITTLES_LAW_STEPS = 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time on the GPUs of a cell, without the engine start, and their energy. Units: s, J."""

    time_s: float
    energy_j: float

    def __add__(self, other: "Estimate") -> "Estimate":
        """Return the sum of both."""
        return Estimate(self.time_s + other.time_s, self.energy_j + other.energy_j)


NOTHING = Estimate(0.0, 0.0)


def estimates(cells: Iterable[Cell]) -> tuple[Estimate | None, ...]:
    """Return the estimate of each cell, None for hardware without figures; equal workloads are evaluated once."""
    workloads: dict[str, Workload] = {}
    results: list[Estimate | None] = []
    for cell in cells:
        if cell.hardware.num_gpus == 0:
            results.append(None)
            continue
        key = workload_key(cell)
        if key not in workloads:
            workloads[key] = workload_of(cell)
        results.append(estimate(cell, workloads[key]))
    return tuple(results)


def estimate(cell: Cell, workload: Workload) -> Estimate:
    """Return the time and energy of one cell."""
    n_gpus = cell.engine.tensor_parallel_size
    costs = CostModel(cell.model, cell.gpu, n_gpus)
    prefill = _prefill(cell, workload, costs)
    busy = prefill + _decode(cell, workload, costs, prefill)
    idle_s = max(0.0, workload.span_s - busy.time_s)
    once = busy + Estimate(idle_s, idle_s * cell.gpu.idle_power_w * n_gpus)
    n_repetitions = _repetitions(cell, once.time_s)
    return Estimate(n_repetitions * once.time_s, n_repetitions * once.energy_j)


def _repetitions(cell: Cell, time_s: float) -> int:
    """Return how often the load is repeated to fill the measurement window."""
    needed = math.ceil(cell.protocol.min_window_s / time_s) if time_s > 0 else 1
    return max(1, min(needed, cell.protocol.max_repetitions))


def _prefill(cell: Cell, workload: Workload, costs: CostModel) -> Estimate:
    """Return the cost of all prompts, each in a separate iteration without cached tokens."""
    tokens = workload.new_prompt_tokens if cell.engine.enable_prefix_caching else workload.prompt_tokens
    new, whole = (max(1, round(total / workload.n_requests)) for total in (tokens, workload.prompt_tokens))
    pairs = new * (2 * whole - new) // 2
    batch = Batch(n_tokens=new, n_sampled=1, context_tokens=whole, n_pairs=pairs, prefill_pairs=pairs, has_prefill=True)
    cost = costs.cost(batch)
    return Estimate(workload.n_requests * cost.time_s(whole), workload.n_requests * cost.energy_j(batch))


def _decode(cell: Cell, workload: Workload, costs: CostModel, prefill: Estimate) -> Estimate:
    """Return the cost of all output tokens after the first of each request, in iterations with a constant batch."""
    context = (workload.prompt_tokens + workload.output_tokens / 2) / workload.n_requests
    n_tokens = max(0.0, workload.output_tokens - workload.n_requests)

    def with_batch(n_sequences: int) -> Estimate:
        read = round(context * n_sequences)
        cost = costs.decode_cost(n_sequences, read)
        batch = Batch(n_tokens=n_sequences, n_sampled=n_sequences, context_tokens=read, n_pairs=read)
        n_iterations = n_tokens / n_sequences
        return Estimate(n_iterations * cost.time_s(read), n_iterations * cost.energy_j(batch))

    if isinstance(cell.load, ClosedLoad):
        users = min(cell.load.users, workload.n_workflows)
        return with_batch(_batch_size(cell, users * workload.width))
    n_sequences = 1
    for _ in range(_LITTLES_LAW_STEPS):
        share = n_sequences * (with_batch(n_sequences).time_s + prefill.time_s) / max(workload.span_s, 1e-9)
        n_sequences = _batch_size(cell, share)
    return with_batch(n_sequences)


def _batch_size(cell: Cell, n_sequences: float) -> int:
    return max(1, min(cell.engine.max_num_seqs, round(n_sequences)))
