"""Every request of a matrix must fit the context of its model: known before anything starts."""

import json
from collections.abc import Iterable

from orchestrator import plugins
from orchestrator.cell import Cell
from orchestrator.errors import UserError
from workflows.context import max_context_tokens
from workflows.load import ReplayLoad
from workflows.source import WorkflowSource


def refuse_long_requests(cells: Iterable[Cell]) -> None:
    """Build the workload of every cell, each distinct one once, and compare its longest request with the context.

    Raises:
        UserError: a request is longer, a workload cannot be built, or a replay has no recorded arrivals.
    """
    longest: dict[str, int] = {}
    for cell in cells:
        key = json.dumps([cell.canonical()["workflow"], cell.canonical()["load"], cell.workload_seed], sort_keys=True)
        if key not in longest:
            longest[key] = _longest_tokens(cell)
        if longest[key] > cell.model.max_model_len:
            raise UserError(
                f"workflow {cell.workflow.kind}: its longest request has {longest[key]} tokens, more than the "
                f"{cell.model.max_model_len} of model.max_model_len on {cell.model.name}; "
                f"set model.max_model_len={longest[key]} or choose a shorter workload"
            )


def _longest_tokens(cell: Cell) -> int:
    kind = cell.workflow.kind
    try:
        source = plugins.load("workflows.library", kind).build(cell.workflow, seed=cell.workload_seed)
        return max_context_tokens(source, _count(cell, source))
    except (ValueError, OSError) as error:
        raise UserError(f"workflow {kind}: {' '.join(str(error).split())}") from error


def _count(cell: Cell, source: WorkflowSource) -> int:
    load, arrivals_s = cell.load, source.arrivals_s
    if not isinstance(load, ReplayLoad):
        return load.num_workflows
    if arrivals_s is None:
        raise UserError(
            f"load.kind=replay: workflow {cell.workflow.kind} has no recorded arrivals; "
            "choose a trace workflow, or load=poisson or load=closed"
        )
    return len(arrivals_s) if load.num_workflows is None else min(load.num_workflows, len(arrivals_s))
