"""Every request of a matrix must fit the context of its model: known before anything starts."""

from collections.abc import Iterable, Mapping

from orchestrator.errors import UserError
from orchestrator.spec.cell import Cell
from orchestrator.spec.workload import source_at_most, workload_faults, workload_key
from workflows.context import max_context_tokens


def refuse_long_requests(cells: Iterable[Cell]) -> None:
    """Build the workload of every cell, each distinct one once, and compare its longest requests with the contexts.

    Raises:
        UserError: a request is longer, a workload cannot be built, a replay has no recorded arrivals, or an engine is
            given to a role that the workload has not.
    """
    longest: dict[str, dict[str, int]] = {}
    for cell in cells:
        key = workload_key(cell)
        if key not in longest:
            with workload_faults(cell):
                longest[key] = max_context_tokens(*source_at_most(cell))
        _refuse_other_roles(cell, longest[key])
        for role, tokens in sorted(longest[key].items(), key=lambda item: -item[1]):
            _refuse_long_request(cell, role, tokens)


def _refuse_long_request(cell: Cell, role: str, tokens: int) -> None:
    own = cell.roles.get(role)
    model, key = (cell.model, "model") if own is None else (own.model, f"roles.{role}.model")
    if tokens > model.max_model_len:
        raise UserError(
            f"workflow {cell.workflow.kind}: its longest request {'' if own is None else f'of role {role} '}has "
            f"{tokens} tokens, more than the {model.max_model_len} of {key}.max_model_len on {model.name}; "
            f"set {key}.max_model_len={tokens} or choose a shorter workload"
        )


def _refuse_other_roles(cell: Cell, roles: Mapping[str, int]) -> None:
    unknown = [role for role in cell.roles if role not in roles]
    if unknown:
        raise UserError(
            f"roles.{unknown[0]}: workflow {cell.workflow.kind} has no such role; it has {', '.join(sorted(roles))}"
        )
    if roles.keys() <= cell.engine_of_role.keys():
        raise UserError(
            f"roles: every role of workflow {cell.workflow.kind} has an engine of its own, so nothing would run on the "
            "cell's own; leave one role out and give its engine as model and engine"
        )
