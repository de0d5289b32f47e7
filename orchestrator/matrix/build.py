"""From what Hydra composed to the matrix: everything is validated here, before anything starts."""

from collections.abc import Iterable
from typing import Any

from orchestrator.cell import Cell
from orchestrator.errors import UserError
from orchestrator.matrix.cells import cell_of, settings_of
from orchestrator.matrix.context import refuse_long_requests
from orchestrator.matrix.expand import Expansion
from orchestrator.matrix.notes import notes
from orchestrator.matrix.resolve import resolved
from orchestrator.settings import Matrix, Settings


def build(expansion: Expansion) -> tuple[Matrix, Settings]:
    """The matrix and its settings; a cell that the axes give twice is kept once.

    Raises:
        UserError: a wrong key, value or file, or a request longer than its model's context.
    """
    configs = [resolved(point.config) for point in expansion.points]
    cells = _unique(cell_of(config) for config in configs)
    settings = _one_settings(configs)
    refuse_long_requests(cells)
    matrix = Matrix(
        name=expansion.name,
        cells=cells,
        overrides=expansion.arguments,
        swept=expansion.swept,
        notes=notes(cells, [point.choices for point in expansion.points]),
    )
    return matrix, settings


def _unique(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    return tuple({cell.cell_id: cell for cell in cells}.values())


def _one_settings(configs: Iterable[dict[str, Any]]) -> Settings:
    found: list[Settings] = []
    for settings in map(settings_of, configs):
        if settings not in found:
            found.append(settings)
    if len(found) > 1:
        first, second = found[0].model_dump(), found[1].model_dump()
        varying = next(key for key in first if first[key] != second[key])
        raise UserError(
            f"{varying}: holds for the whole sweep and cannot be swept, got {first[varying]!r} and {second[varying]!r}"
        )
    return found[0]
