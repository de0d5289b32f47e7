"""Which pydantic model describes a place of the configuration."""

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from orchestrator import plugins
from orchestrator.errors import UserError

PLUGIN_PACKAGES = {"engine": "orchestrator.engines", "workflow": "workflows.library"}
"""Where the options of a node are those of the plug-in that its ``kind`` names."""


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
