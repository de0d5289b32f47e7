"""What pydantic refuses, told in one line: the dotted key, what is allowed, what was given."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import UserError, allowed_names
from orchestrator.matrix.fields import model_at

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
