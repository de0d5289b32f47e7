"""Hydra's and OmegaConf's errors, each told in one line."""

from collections.abc import Mapping
from typing import Any, cast

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from orchestrator.errors import UserError, allowed_names
from orchestrator.matrix.fields import model_at
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
"""What Hydra raises while it composes what people wrote."""

_NOISE = ("Error parsing override", "See https://", "object_type=", "full_key:", "reference_type=")


def user_error(error: BaseException) -> UserError:
    """The error as one line: the key or option, what was wrong, what is allowed."""
    return UserError(_line(error))


def _line(error: BaseException) -> str:
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
