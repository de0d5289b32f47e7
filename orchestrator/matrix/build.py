"""From what Hydra composed to the matrix: everything is validated here, before anything starts."""

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.errors import UserError
from orchestrator.matrix.asked import asks_for_cells
from orchestrator.matrix.auto import Auto
from orchestrator.matrix.axes import varying
from orchestrator.matrix.cells import QUESTION, cell_of, settings_of
from orchestrator.matrix.context import refuse_long_requests
from orchestrator.matrix.expand import Expansion
from orchestrator.matrix.notes import notes
from orchestrator.matrix.protocol import with_protocol
from orchestrator.matrix.repeats import REPEAT, repeated, stop_notes
from orchestrator.matrix.resolve import resolved
from orchestrator.matrix.workflow_executor import refuse_ray_inline, with_executor
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Matrix, Settings

_NAMED_BY = {"model": "name", "hardware": "name", "engine": "kind", "workflow": "kind", "load": "kind"}


def build(expansion: Expansion) -> tuple[Matrix, Settings]:
    """The matrix and its settings; a cell that the axes give twice is kept once.

    Raises:
        UserError: a wrong key, value or file, or a request longer than its model's context.
    """
    auto = Auto(expansion.points, resumes_only=_resumes_only(expansion))
    configs = [with_protocol(resolved(auto.decided(point), point.given)) for point in expansion.points]
    questions = dict.fromkeys(str(asked) for config in configs if (asked := config.get(QUESTION)))
    once = _unique(with_executor(cell_of(config), config) for config in configs)
    settings = _one_settings(configs)
    cells = repeated(once, expansion.points, settings)
    refuse_ray_inline(cells, settings)
    refuse_long_requests(cells)
    matrix = Matrix(
        name=expansion.name,
        cells=cells,
        overrides=expansion.arguments,
        swept=_swept(expansion, settings),
        notes=(*auto.notes(), *notes(cells), *stop_notes(cells, settings)),
        question=" ".join(questions) or None,
    )
    return matrix, settings


def _resumes_only(expansion: Expansion) -> bool:
    resumes = any(point.config.get("resume") is not None for point in expansion.points)
    return resumes and not asks_for_cells(expansion.name, expansion.arguments)


def _unique(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    return tuple({cell.cell_id: cell for cell in cells}.values())


def _swept(expansion: Expansion, settings: Settings) -> tuple[str, ...]:
    keys = tuple(_cell_key(key) for key in varying(expansion.axes))
    return keys if settings.repeats == 1 else (*keys, REPEAT)


def _cell_key(key: str) -> str:
    """What tells the options of a group apart in a cell: a sweep says ``workflow``, a cell ``workflow.kind``.

    ``workflow@workflow.tenants.a.workflow`` puts an option where Hydra's package says.
    """
    group, _, package = key.partition("@")
    return f"{package or group}.{_NAMED_BY[group]}" if group in _NAMED_BY else key


def _one_settings(configs: Iterable[dict[str, Any]]) -> Settings:
    found: list[Settings] = []
    for settings in map(settings_of, configs):
        if settings not in found:
            found.append(settings)
    if len(found) > 1:
        key, first, second = _difference(found[0].model_dump(), found[1].model_dump())
        raise UserError(f"{key}: holds for the whole sweep and cannot be swept, got {first!r} and {second!r}")
    return found[0]


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, Any, Any]:
    key = next(key for key in first if first[key] != second[key])
    if not isinstance(first[key], Mapping):
        return key, first[key], second[key]
    inner, before, after = _difference(first[key], second[key])
    return f"{key}.{inner}", before, after
