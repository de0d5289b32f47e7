"""What a configuration may say indirectly, made plain before cells are identified."""

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import UserError

DEFAULT_USERS = "default_users"
"""Key of a workflow preset that `conf/load/closed.yaml` reads; no option of the workflow itself."""


def resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the figures of ``model.config_path`` in place, and without keys only presets use.

    A context that was the preset's native one becomes the native one of the file.

    Raises:
        UserError: the file cannot be read or lacks a figure.
    """
    plain = dict(config)
    if isinstance(plain.get("model"), Mapping):
        plain["model"] = _model(plain["model"])
    if isinstance(plain.get("workflow"), Mapping):
        plain["workflow"] = {key: value for key, value in plain["workflow"].items() if key != DEFAULT_USERS}
    return plain


def _model(model: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in model.items() if key != "config_path"}
    path = model.get("config_path")
    if path is None:
        return kept
    if not isinstance(path, str):
        raise UserError(f"model.config_path: must be the path of a config.json, got {path!r}")
    from orchestrator.model_config import read_config_json

    figures = read_config_json(path)
    if kept.get("max_model_len") == kept.get("max_position_embeddings"):
        kept["max_model_len"] = figures.get("max_position_embeddings")
    return {**kept, **figures}
