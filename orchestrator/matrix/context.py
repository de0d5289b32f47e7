"""Every request of a matrix must fit the context of its model: known before anything starts."""

import json
from collections.abc import Iterable

from orchestrator.cell import Cell
from orchestrator.errors import UserError
from orchestrator.matrix.workload import source_of, workload_faults
from workflows.context import max_context_tokens


def refuse_long_requests(cells: Iterable[Cell]) -> None:
    """Build the workload of every cell, each distinct one once, and compare its longest request with the context.

    Raises:
        UserError: a request is longer, a workload cannot be built, or a replay has no recorded arrivals.
    """
    longest: dict[str, int] = {}
    for cell in cells:
        key = workload_key(cell)
        if key not in longest:
            with workload_faults(cell):
                longest[key] = max_context_tokens(*source_of(cell))
        if longest[key] > cell.model.max_model_len:
            raise UserError(
                f"workflow {cell.workflow.kind}: its longest request has {longest[key]} tokens, more than the "
                f"{cell.model.max_model_len} of model.max_model_len on {cell.model.name}; "
                f"set model.max_model_len={longest[key]} or choose a shorter workload"
            )


def workload_key(cell: Cell) -> str:
    """Equal keys are equal workloads."""
    plain = cell.canonical()
    return json.dumps([plain["workflow"], plain["load"], cell.workload_seed], sort_keys=True)
