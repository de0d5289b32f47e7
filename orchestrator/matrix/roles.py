"""Engines of roles as people write them, completed from the cell's own."""

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import UserError

_NAMED_BY = {"model": "name", "engine": "kind"}


def completed_roles(roles: Any, own: Mapping[str, Any]) -> Any:
    """What a role leaves out is as in the cell: the model, the engine, or single keys of either.

    ``own`` holds the cell's model and engine. A preset (anything with a name or kind) stands for itself.

    Raises:
        UserError: a role is no mapping.
    """
    if not isinstance(roles, Mapping):
        raise UserError(f"roles: must be a mapping of roles to engines, got {roles!r}")
    return {role: _completed(str(role), engine, own) for role, engine in roles.items()}


def _completed(role: str, engine: Any, own: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(engine, Mapping):
        raise UserError(f"roles.{role}: must be a mapping with model, engine or both, got {engine!r}")
    return {**engine, **{key: _part(engine.get(key), own.get(key), named_by) for key, named_by in _NAMED_BY.items()}}


def _part(given: Any, own: Any, named_by: str) -> Any:
    if given is None:
        return own
    if not isinstance(given, Mapping) or named_by in given or not isinstance(own, Mapping):
        return given
    return {**own, **given}
