"""Read shipped presets and model files as plain data; keys that the user gave take precedence over both."""

import copy
import operator
from collections.abc import Mapping, Sequence, Set
from functools import cache, reduce
from importlib import resources
from typing import Any, cast

from omegaconf import OmegaConf

from orchestrator.errors import UserError
from orchestrator.spec.model import read_config_json

_CONFIG_PATH = "config_path"


def read_preset(group: str, name: str, config: Mapping[str, Any], given: Set[str]) -> dict[str, Any]:
    """Return a shipped preset, with the ``given`` keys of its group replaced by their values in ``config``."""
    preset = copy.deepcopy(_read(group, name))
    for key in sorted(given):
        first, *path = key.split(".")
        if first == group and path:
            _set(preset, path, reduce(operator.getitem, path, config[group]))
    return preset


def _set(node: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for step in path[:-1]:
        node = node.setdefault(step, {})
    node[path[-1]] = value


@cache
def hardware_presets() -> dict[str, str]:
    """Return the names of the shipped hardware presets by the product name of their GPU."""
    files = (resources.files("conf") / "hardware").iterdir()
    names = sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))
    return {str(_read("hardware", name).get("name")): name for name in names}


@cache
def _read(group: str, name: str) -> dict[str, Any]:
    text = (resources.files("conf") / group / f"{name}.yaml").read_text(encoding="utf-8")
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(text), resolve=False))


def with_model_file(model: Mapping[str, Any], given: Set[str], place: str) -> dict[str, Any]:
    """Return the model at the dotted key ``place`` with the figures of its ``config_path``, if it has one.

    The file replaces the preset. A preset that names the file itself keeps its other keys. The context length is the
    one the model was trained for, unless a key gives another.

    Raises:
        UserError: the file cannot be read or lacks a figure.
    """
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
    except UserError as error:
        raise UserError(f"{place}.config_path={error}") from error
    return {"max_model_len": figures["max_position_embeddings"], **figures, **preset}
