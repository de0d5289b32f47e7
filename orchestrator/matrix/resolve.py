"""What a configuration may say indirectly, made plain before cells are identified."""

from collections.abc import Mapping, Set
from typing import Any

from orchestrator.errors import UserError
from orchestrator.spec.model import read_config_json

LOAD_DEFAULTS = ("default_users", "default_num_workflows")
"""Keys of a workflow preset that `conf/load/closed.yaml` reads; no options of the workflow itself."""

_CONFIG_PATH = "config_path"
_NAMED_BY = {"model": "name", "engine": "kind"}


def resolved(config: Mapping[str, Any], given: Set[str]) -> dict[str, Any]:
    """The configuration with the figures of ``model.config_path`` in place, and without keys only presets use.

    The file takes the place of the preset; ``given`` keys hold against it, and so does a preset that names the file
    itself. The context is the native one unless such a key says otherwise.

    Raises:
        UserError: the file cannot be read or lacks a figure.
    """
    plain = dict(config)
    if isinstance(plain.get("model"), Mapping):
        plain["model"] = _model(plain["model"], given, "model")
    if "roles" in plain:
        plain["roles"] = completed_roles(_with_files(plain["roles"], given), plain)
    if "workflow" in plain:
        plain["workflow"] = _without_null_executor(_without_load_defaults(plain["workflow"]))
    return plain


def _without_null_executor(value: Any) -> Any:
    """Of the whole workload: null is the word for one that nobody chose."""
    if isinstance(value, Mapping) and value.get("executor", "") is None:
        return {key: inner for key, inner in value.items() if key != "executor"}
    return value


def _without_load_defaults(value: Any) -> Any:
    """At any depth: the tenants of a mix may be presets too."""
    if not isinstance(value, Mapping):
        return value
    return {key: _without_load_defaults(inner) for key, inner in value.items() if key not in LOAD_DEFAULTS}


def _with_files(roles: Any, given: Set[str]) -> Any:
    """The models of roles, as that of the cell."""
    if not isinstance(roles, Mapping):
        return roles
    return {
        role: {**engine, "model": _model(engine["model"], given, f"roles.{role}.model")}
        if isinstance(engine, Mapping) and isinstance(engine.get("model"), Mapping)
        else engine
        for role, engine in roles.items()
    }


def _model(model: Mapping[str, Any], given: Set[str], place: str) -> dict[str, Any]:
    preset = {key: value for key, value in model.items() if key != _CONFIG_PATH}
    path = model.get(_CONFIG_PATH)
    if path is None:
        return preset
    if not isinstance(path, str):
        raise UserError(f"{place}.config_path: must be the path of a config.json, got {path!r}")
    if f"{place}.{_CONFIG_PATH}" in given:
        preset = {key: value for key, value in preset.items() if f"{place}.{key}" in given}
    try:
        figures = read_config_json(path)
        return {"max_model_len": figures["max_position_embeddings"], **figures, **preset}
    except UserError as error:
        raise UserError(f"{place}.config_path={error}") from error


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
