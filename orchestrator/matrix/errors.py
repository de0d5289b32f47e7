"""What pydantic refuses, told in one line: the dotted key, what is allowed, what was given."""

import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator import plugins
from orchestrator.errors import UserError, allowed_names
from orchestrator.spec.cell import Cell

_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "dict": "a mapping",
    "model": "a mapping",
    "tuple": "a list",
    "list": "a list",
}
_BOUNDS = {
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "less than {lt:g}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "union_tag_invalid": "one of {expected_tags}",
}

PLUGIN_PACKAGES = {"engine": "orchestrator.engines", "workflow": "workflows.library"}
"""Where the options of a node are those of the plug-in that its ``kind`` names."""

COMPOSITION_ERRORS = (
    HydraException,
    OmegaConfBaseException,
    yaml.YAMLError,
    AssertionError,
    ValueError,
    TypeError,
    OSError,
)
"""What Hydra raises while it composes what people wrote."""

_NOISE = ("Error parsing override", "See https://", "object_type=", "full_key:", "reference_type=")


def user_error(
    error: ValidationError, root: type[BaseModel], plain: Mapping[str, Any], written_as: Mapping[str, str]
) -> UserError:
    """The first of pydantic's errors in one line, and how many follow it.

    ``plain`` is what was validated against ``root``; ``written_as`` renames fields to the keys people wrote.
    """
    lines = _lines(error, root, plain, ())
    for field, key in written_as.items():
        if lines[0].startswith((f"{field}:", f"{field}.")):
            lines[0] = key + lines[0].removeprefix(field)
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return UserError(lines[0] + more)


def _lines(
    error: ValidationError, root: type[BaseModel], plain: Mapping[str, Any], prefix: tuple[str, ...]
) -> list[str]:
    lines = []
    for details in error.errors():
        path = (*prefix, *_config_path(details["loc"], plain, prefix))
        inner = details.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):
            lines.extend(_lines(inner, root, plain, path))
        else:
            lines.append(_line(details, root, plain, path))
    return lines


def _config_path(loc: Sequence[int | str], plain: Mapping[str, Any], prefix: tuple[str, ...]) -> tuple[str, ...]:
    """The location without the tags that pydantic adds for a union: only steps the data or a field has."""
    at: Any = plain
    for known in prefix:
        at = at.get(known) if isinstance(at, Mapping) else None
    kept: list[str] = []
    for step in loc:
        if isinstance(at, Mapping) and step not in at and at.get("kind") == step:
            continue
        kept.append(str(step))
        at = at.get(step) if isinstance(at, Mapping) else None
    return tuple(kept)


def _line(details: ErrorDetails, root: type[BaseModel], plain: Mapping[str, Any], path: tuple[str, ...]) -> str:
    key, kind, given = ".".join(path), details["type"], details["input"]
    if kind == "extra_forbidden":
        return f"{key}: unknown key; {allowed_names(path[-1], _siblings(root, plain, path[:-1]))}"
    if kind == "missing":
        return f"{key}: is missing; give it a value"
    if kind in ("value_error", "assertion_error"):
        return _own_message(str(details["ctx"]["error"]), root, plain, path)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        key, given = f"{key}.kind", given.get("kind") if isinstance(given, Mapping) else given
    hint = "; values to sweep over are written 1,2 without brackets" if isinstance(given, list) else ""
    return f"{key}: must be {_wanted(details, root, plain, path)}, got {given!r}{hint}"


def _wanted(details: ErrorDetails, root: type[BaseModel], plain: Mapping[str, Any], path: tuple[str, ...]) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context)
    owner = model_at(root, plain, path[:-1])
    field = owner.model_fields.get(path[-1]) if owner is not None and path else None
    if field is not None and field.description is not None:
        return field.description
    return _WANTED.get(kind.partition("_")[0], details["msg"])


def _own_message(message: str, root: type[BaseModel], plain: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """A validator's own words; where they begin with a field's name, the dotted key takes its place."""
    first = message.split(maxsplit=1)[0].rstrip(":") if message else ""
    key = ".".join(path)
    if first in ("kind", *_siblings(root, plain, path)):
        return f"{key}.{message}" if key else message
    return f"{key}: {message}" if key else message


def _siblings(root: type[BaseModel], plain: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    owner = model_at(root, plain, path)
    return list(owner.model_fields) if owner is not None else []


def model_at(root: type[BaseModel], plain: Mapping[str, Any], path: tuple[str, ...]) -> type[BaseModel] | None:
    """The model of the mapping at ``path`` below ``root``; None where there is none."""
    model: type[BaseModel] | None = root
    at: Any = plain
    is_name = False
    for step in path:
        at = at.get(step) if isinstance(at, Mapping) else None
        if is_name:  # of a role or a tenant: the people's own word, which stands between two models
            is_name = False
            continue
        if model is None:
            return None
        is_name = _is_mapping(_annotation(model, step))
        if step in PLUGIN_PACKAGES and step in model.model_fields:
            model = _plugin_options(PLUGIN_PACKAGES[step], at)
        else:
            model = _field_model(model, step, at)
    return None if is_name else model


def _plugin_options(package: str, at: Any) -> type[BaseModel] | None:
    kind = at.get("kind") if isinstance(at, Mapping) else None
    try:
        found = plugins.part(package, str(kind), "Options")
    except UserError:  # the kind itself is what is wrong
        return None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _field_model(model: type[BaseModel] | None, step: str, at: Any) -> type[BaseModel] | None:
    field = model.model_fields.get(step) if model is not None else None
    if field is None:
        return None
    models = list(_models(field.annotation))
    kind = at.get("kind") if isinstance(at, Mapping) else None
    tagged = [found for found in models if kind in typing.get_args(_annotation(found, "kind"))]
    return next(iter(tagged or models), None)


def _is_mapping(annotation: Any) -> bool:
    origin: Any = typing.get_origin(annotation)
    return origin is dict


def _annotation(model: type[BaseModel], name: str) -> Any:
    field = model.model_fields.get(name)
    return field.annotation if field is not None else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)


def hydra_error(error: BaseException) -> UserError:
    """The error as one line: the key or option, what was wrong, what is allowed."""
    return UserError(_hydra_line(error))


def _hydra_line(error: BaseException) -> str:
    if isinstance(error, MissingConfigException):
        return _missing_option(error)
    if isinstance(error, OverrideParseException):
        problem = _flat(error.message).partition(" expecting ")[0]
        return f"{error.override!r} is not an override: {problem}; write key=value"
    if isinstance(error, yaml.YAMLError):
        return _malformed(error)
    if isinstance(error, UnicodeDecodeError):
        return f"a configuration file is not UTF-8 text: {error}"
    return _not_composed(error)


def _not_composed(error: BaseException) -> str:
    text = str(error)
    if text.startswith("Ambiguous value for argument"):
        given = text.split("'")[1]
        return f"{given}: several values are a sweep, which needs -m before the overrides; a list is key=[a,b]"
    cause = _omegaconf_cause(error)
    if cause is None:
        return _flat(text)
    where = f"{text.split(chr(39))[1]}.yaml: " if text.startswith("In '") else ""
    return where + _refused(cause, text)


def _refused(cause: OmegaConfBaseException, told: str) -> str:
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _unknown_key(cause, told)
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key}: is missing; give it a value"
    return f"{cause.full_key}: {_flat(str(cause))}" if cause.full_key else _flat(str(cause))


def _missing_option(error: MissingConfigException) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if not group or error.options is None:
        return _flat(str(error).split("Config search path:", maxsplit=1)[0])
    return f"{group}={option}: there is no {option!r} in conf/{group}; {allowed_names(option, error.options)}"


def _unknown_key(error: OmegaConfBaseException, told: str) -> str:
    parent = error.parent_node
    siblings = [str(key) for key in parent if key != "hydra"] if isinstance(parent, DictConfig) else []
    key, name = str(error.full_key), str(error.key)
    if not siblings:
        return _flat(told)
    if name in _optional_names(key, cast(DictConfig, parent)):
        return f"{key}: this preset leaves it to its default; add it as +{key}=VALUE"
    return f"{key}: unknown key; {allowed_names(name, siblings)}"


def _optional_names(key: str, parent: DictConfig) -> tuple[str, ...]:
    """Fields of a cell at this place, whether or not the preset mentions them."""
    path = tuple(key.split(".")[:-1])
    plain: Mapping[str, Any] = {path[0]: OmegaConf.to_container(parent)} if len(path) == 1 else {}
    model = model_at(Cell, plain, path)
    return tuple(model.model_fields) if model is not None else ()


def _malformed(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or _flat(str(error))
    where = f"{mark.name}, line {mark.line + 1}: " if mark is not None else ""
    return f"{where}this YAML cannot be read: {problem}"


def _omegaconf_cause(error: BaseException) -> OmegaConfBaseException | None:
    found: BaseException | None = error
    while found is not None and not isinstance(found, OmegaConfBaseException):
        found = found.__cause__ or found.__context__
    return found


def _flat(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(_NOISE)]
    return "; ".join(kept) or "this cannot be composed"
