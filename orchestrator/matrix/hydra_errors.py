"""Hydra's and OmegaConf's errors, each told in one line."""

from collections.abc import Iterable

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from orchestrator.errors import UserError
from orchestrator.matrix.suggestion import allowed_names

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, OSError)
"""What Hydra raises while it composes what people wrote."""


def user_error(error: BaseException) -> UserError:
    """The error as one line: the key or option, what was wrong, what is allowed."""
    return UserError(_line(error))


def _line(error: BaseException) -> str:
    if isinstance(error, MissingConfigException):
        return _missing_option(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is not an override: {_flat(error.message)}; write key=value"
    if isinstance(error, yaml.YAMLError):
        return _malformed(error)
    cause = _omegaconf_cause(error)
    return _flat(str(error)) if cause is None else _refused(cause)


def _refused(cause: OmegaConfBaseException) -> str:
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _unknown_key(cause)
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key}: is missing; give it a value"
    return f"{cause.full_key}: {_first(cause)}" if cause.full_key else _first(cause)


def _missing_option(error: MissingConfigException) -> str:
    if error.missing_cfg_file is None or error.options is None:
        return _flat(str(error).split("Config search path:")[0])
    group, _, option = error.missing_cfg_file.rpartition("/")
    if not group:
        return _flat(str(error).split("Config search path:")[0])
    return f"{group}={option}: there is no {option!r} in conf/{group}; {allowed_names(option, error.options)}"


def _unknown_key(error: OmegaConfBaseException) -> str:
    siblings: Iterable[str] = ()
    if error.parent_node is not None and hasattr(error.parent_node, "keys"):
        siblings = [str(key) for key in error.parent_node if key != "hydra"]
    return f"{error.full_key}: unknown key; {allowed_names(str(error.key), siblings)}"


def _malformed(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or _flat(str(error))
    where = f"{mark.name}, line {mark.line + 1}: " if mark is not None else ""
    return f"{where}this YAML cannot be read: {problem}"


def _omegaconf_cause(error: BaseException) -> OmegaConfBaseException | None:
    found: BaseException | None = error
    while found is not None and not isinstance(found, OmegaConfBaseException):
        found = found.__cause__
    return found


def _first(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _flat(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip()) or "this cannot be composed"
