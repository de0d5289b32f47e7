"""What a sweep was asked for (`sweep.json`): its cells, and each start of work on it."""

from collections.abc import Container, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.errors import UserError
from orchestrator.records.record import SCHEMA_VERSION
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Matrix


class Start(BaseModel):
    """One start of a driver on the sweep: when, told what, on which machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unix_s: float
    overrides: tuple[str, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]


class SweepManifest(BaseModel):
    """``cells`` holds canonical cells by id, ``order`` their ids in the order of the matrix.

    ``not_needed`` says why repeats were not run, by their ids: the stop rule was met before them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    sweep_id: str
    name: str
    created_unix_s: float
    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    notes: tuple[str, ...]
    question: str | None = None
    cells: dict[str, dict[str, Any]]
    order: tuple[str, ...]
    starts: tuple[Start, ...]
    not_needed: dict[str, str] = {}
    warnings: tuple[str, ...] = ()

    def missing(self, recorded: Container[str]) -> tuple[str, ...]:
        """Ids of the cells that are needed and have no record yet."""
        return tuple(one for one in self.order if one not in recorded and one not in self.not_needed)

    def matrix(self) -> Matrix:
        """The matrix as it was asked for, with every cell validated again.

        Raises:
            UserError: a cell cannot be read by this version, or reads as another experiment.
        """
        cells = tuple(_decoded(self.sweep_id, cell_id, self.cells[cell_id]) for cell_id in self.order)
        return Matrix(
            name=self.name,
            cells=cells,
            overrides=self.overrides,
            swept=self.swept,
            notes=self.notes,
            question=self.question,
        )


def new_manifest(sweep_id: str, matrix: Matrix, start: Start) -> SweepManifest:
    """The manifest of a sweep at its first start."""
    return SweepManifest(
        sweep_id=sweep_id,
        name=matrix.name,
        created_unix_s=start.unix_s,
        overrides=matrix.overrides,
        swept=matrix.swept,
        notes=matrix.notes,
        question=matrix.question,
        cells={cell.cell_id: cell.canonical() for cell in matrix.cells},
        order=tuple(cell.cell_id for cell in matrix.cells),
        starts=(start,),
    )


def _decoded(sweep_id: str, cell_id: str, plain: Mapping[str, Any]) -> Cell:
    try:
        cell = Cell.model_validate(dict(plain))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"sweep {sweep_id}: cell {cell_id} cannot be read: {where}: {first['msg']}") from error
    if cell.cell_id != cell_id:
        raise UserError(
            f"sweep {sweep_id}: cell {cell_id} now reads as {cell.cell_id}; "
            "it was written by another version of Joulegrid: start a new sweep"
        )
    return cell
