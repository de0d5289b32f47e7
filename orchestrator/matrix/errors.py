"""Turn what pydantic and Hydra refuse into one line: the dotted key, what is allowed, what was given.

pydantic validates plain data, so its errors are located by walking the models beside the data. Hydra refuses before
there is plain data; its errors carry the key, the file or the override, wrapped in text for programmers.
"""

import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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

COMPOSITION_ERRORS = (
    HydraException,
    OmegaConfBaseException,
    yaml.YAMLError,
    AssertionError,
    ValueError,
    TypeError,
    OSError,
)
"""What Hydra raises while it composes wrong input."""

_PLUGIN_PACKAGES = {"engine": "orchestrator.engines", "workflow": "workflows.library"}
"""Nodes whose options are those of the plug-in that their ``kind`` names."""

_EXPECTED_TYPES = {
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
_EXPECTED_VALUES = {
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "less than {lt:g}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "union_tag_invalid": "one of {expected_tags}",
}
_HYDRA_NOISE = ("Error parsing override", "See https://", "object_type=", "full_key:", "reference_type=")


def validation_error(
    error: ValidationError, root: type[BaseModel], plain: Mapping[str, Any], renamed: Mapping[str, str] | None = None
) -> UserError:
    """Return pydantic's first error as one line, with the number of those that follow.

    Args:
        error: what pydantic raised.
        root: the model that refused.
        plain: the data it refused.
        renamed: fields of ``root`` and the keys that stand for them in a configuration, where they differ.
    """
    lines = list(_Refusal(root, plain).lines(error))
    for field, key in (renamed or {}).items():
        if lines[0].startswith((f"{field}:", f"{field}.")):
            lines[0] = key + lines[0].removeprefix(field)
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return UserError(lines[0] + more)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A model and the plain data that it refused."""

    root: type[BaseModel]
    plain: Mapping[str, Any]

    def lines(self, error: ValidationError, prefix: tuple[str, ...] = ()) -> Iterator[str]:
        """Yield one line an error; errors of a model within a model stand under the ``prefix`` of the inner one."""
        for details in error.errors():
            path = (*prefix, *self._without_tags(details["loc"], prefix))
            inner = details.get("ctx", {}).get("error")
            if isinstance(inner, ValidationError):
                yield from self.lines(inner, path)
            else:
                yield self._line(details, path)

    def _without_tags(self, loc: Sequence[int | str], prefix: tuple[str, ...]) -> Iterator[str]:
        """Yield the steps of a location that the data or a field has; pydantic adds the tags of unions."""
        node: Any = self.plain
        for step in prefix:
            node = node.get(step) if isinstance(node, Mapping) else None
        for tag_or_step in loc:
            if isinstance(node, Mapping) and tag_or_step not in node and node.get("kind") == tag_or_step:
                continue
            yield str(tag_or_step)
            node = node.get(tag_or_step) if isinstance(node, Mapping) else None

    def _line(self, details: ErrorDetails, path: tuple[str, ...]) -> str:
        key, kind, given = ".".join(path), details["type"], details["input"]
        if kind == "extra_forbidden":
            return f"{key}: unknown key; {allowed_names(path[-1], self._fields(path[:-1]))}"
        if kind == "missing":
            return f"{key}: is missing; give it a value"
        if kind in ("value_error", "assertion_error"):
            return self._validator_message(str(details["ctx"]["error"]), path)
        if kind in ("union_tag_invalid", "union_tag_not_found"):
            key, given = f"{key}.kind", given.get("kind") if isinstance(given, Mapping) else given
        hint = "; values to sweep over are written 1,2 without brackets" if isinstance(given, list) else ""
        return f"{key}: must be {self._expected(details, path)}, got {given!r}{hint}"

    def _expected(self, details: ErrorDetails, path: tuple[str, ...]) -> str:
        kind, context = details["type"], details.get("ctx", {})
        if kind in _EXPECTED_VALUES:
            return _EXPECTED_VALUES[kind].format(**context)
        owner = _model_at(self.root, self.plain, path[:-1])
        field = owner.model_fields.get(path[-1]) if owner is not None and path else None
        if field is not None and field.description is not None:
            return field.description
        return _EXPECTED_TYPES.get(kind.partition("_")[0], details["msg"])

    def _validator_message(self, message: str, path: tuple[str, ...]) -> str:
        """Return a validator's message; a field's name at its beginning becomes the dotted key."""
        first = message.split(maxsplit=1)[0].rstrip(":") if message else ""
        key = ".".join(path)
        if first in ("kind", *self._fields(path)):
            return f"{key}.{message}" if key else message
        return f"{key}: {message}" if key else message

    def _fields(self, path: tuple[str, ...]) -> Iterable[str]:
        owner = _model_at(self.root, self.plain, path)
        return owner.model_fields if owner is not None else ()


def _model_at(root: type[BaseModel], plain: Mapping[str, Any], path: tuple[str, ...]) -> type[BaseModel] | None:
    """Return the model of the mapping at ``path`` below ``root``; None where there is none."""
    model: type[BaseModel] | None = root
    node: Any = plain
    is_name = False
    for step in path:
        node = node.get(step) if isinstance(node, Mapping) else None
        if is_name:  # of a role or a tenant: the user chose it, and it stands between two models
            is_name = False
            continue
        if model is None:
            return None
        is_name = typing.get_origin(_annotation(model, step)) is dict
        kind = node.get("kind") if isinstance(node, Mapping) else None
        is_plugin = step in _PLUGIN_PACKAGES and step in model.model_fields
        model = plugin_options(step, kind) if is_plugin else _field_model(model, step, kind)
    return None if is_name else model


def plugin_options(node: str, kind: object) -> type[BaseModel] | None:
    """Return the ``Options`` of the plug-in ``kind`` of a node, ``engine`` or ``workflow``; None if there is none."""
    try:
        options = plugins.part(_PLUGIN_PACKAGES[node], str(kind), "Options")
    except UserError:  # the validation of ``kind`` reports it
        return None
    return options if isinstance(options, type) and issubclass(options, BaseModel) else None


def _field_model(model: type[BaseModel], field: str, kind: object) -> type[BaseModel] | None:
    """Return the model of a field; of a union, the member whose ``kind`` this is, or else the first."""
    models = list(_models(_annotation(model, field)))
    tagged = [member for member in models if kind in typing.get_args(_annotation(member, "kind"))]
    return next(iter(tagged or models), None)


def _annotation(model: type[BaseModel], name: str) -> Any:
    field = model.model_fields.get(name)
    return field.annotation if field is not None else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)


def composition_error(error: BaseException) -> UserError:
    """Return one of the `COMPOSITION_ERRORS` as one line."""
    if isinstance(error, MissingConfigException):
        return UserError(_missing_option(error))
    if isinstance(error, OverrideParseException):
        problem = _one_line(error.message).partition(" expecting ")[0]
        return UserError(f"{error.override!r} is not an override: {problem}; write key=value")
    if isinstance(error, yaml.YAMLError):
        return UserError(_malformed_yaml(error))
    if isinstance(error, UnicodeDecodeError):
        return UserError(f"a configuration file is not UTF-8 text: {error}")
    return UserError(_not_composed(error))


def _missing_option(error: MissingConfigException) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if not group or error.options is None:
        return _one_line(str(error).split("Config search path:", maxsplit=1)[0])
    return f"{group}={option}: there is no {option!r} in conf/{group}; {allowed_names(option, error.options)}"


def _malformed_yaml(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or _one_line(str(error))
    where = f"{mark.name}, line {mark.line + 1}: " if mark is not None else ""
    return f"{where}this YAML cannot be read: {problem}"


def _not_composed(error: BaseException) -> str:
    text = str(error)
    if text.startswith("Ambiguous value for argument"):
        override = text.split("'")[1]
        return f"{override}: several values are a sweep, which needs -m before the overrides; a list is key=[a,b]"
    cause = _omegaconf_cause(error)
    if cause is None:
        return _one_line(text)
    where = f"{text.split(chr(39))[1]}.yaml: " if text.startswith("In '") else ""
    return where + _omegaconf_line(cause, text)


def _omegaconf_cause(error: BaseException) -> OmegaConfBaseException | None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__ or cause.__context__
    return cause


def _omegaconf_line(cause: OmegaConfBaseException, text: str) -> str:
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _unknown_key(cause, text)
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key}: is missing; give it a value"
    return f"{cause.full_key}: {_one_line(str(cause))}" if cause.full_key else _one_line(str(cause))


def _unknown_key(error: OmegaConfBaseException, text: str) -> str:
    parent = error.parent_node
    siblings = [str(key) for key in parent if key != "hydra"] if isinstance(parent, DictConfig) else []
    key, name = str(error.full_key), str(error.key)
    if not siblings:
        return _one_line(text)
    if name in _optional_fields(key, cast(DictConfig, parent)):
        return f"{key}: this preset leaves it to its default; add it as +{key}=VALUE"
    return f"{key}: unknown key; {allowed_names(name, siblings)}"


def _optional_fields(key: str, parent: DictConfig) -> Iterable[str]:
    """Return the fields of a cell beside ``key``, whether or not the preset has them."""
    path = tuple(key.split(".")[:-1])
    plain: Mapping[str, Any] = {path[0]: OmegaConf.to_container(parent)} if len(path) == 1 else {}
    model = _model_at(Cell, plain, path)
    return model.model_fields if model is not None else ()


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(_HYDRA_NOISE)]
    return "; ".join(kept) or "this cannot be composed"
