"""The manifest of a sweep (``sweep.json``): its id, its cells, and each start of a driver."""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.errors import UserError
from orchestrator.records.record import SCHEMA_VERSION
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Matrix

_FORM = re.compile(r"(?P<name>[A-Za-z0-9._+-]+)-(?P<stamp>\d{8}-\d{6}-[0-9a-f]{4})")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_MAX_NAME = 80


class Start(BaseModel):
    """One start of a driver: its time, command line, settings and machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unix_s: float
    overrides: tuple[str, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]


class SweepManifest(BaseModel):
    """The content of ``sweep.json``.

    ``cells`` holds canonical cells by id, ``order`` their ids in the order of the matrix, ``not_needed`` why repeats
    did not run, by id: the stop rule was met before them.
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
        """Return the ids of needed cells that have no record."""
        return tuple(one for one in self.order if one not in recorded and one not in self.not_needed)

    def matrix(self) -> Matrix:
        """Return the matrix of the sweep, with every cell validated again.

        Raises:
            UserError: this version cannot read a cell, or reads it as another cell.
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
    """Return the manifest of a sweep at its first start."""
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


@dataclass(frozen=True, slots=True)
class SweepId:
    """The id of a sweep, parsed. ``stamp`` sorts as text in the order of creation."""

    name: str
    stamp: str

    def __str__(self) -> str:
        return f"{self.name}-{self.stamp}"


def safe_name(name: str) -> str:
    """Return the name as it appears in ids: letters, digits and ``._+-`` only, never hidden, never empty."""
    return _UNSAFE.sub("_", name).lstrip(".-_")[:_MAX_NAME].rstrip(".-_") or "sweep"


def new_sweep_id(name: str, unix_s: float) -> SweepId:
    """Return the id of a sweep created at ``unix_s``; the last four digits are the fraction of the second in hex."""
    second = datetime.fromtimestamp(int(unix_s), UTC)
    fraction = int((unix_s % 1.0) * 0x10000)
    return SweepId(safe_name(name), f"{second:%Y%m%d-%H%M%S}-{fraction:04x}")


def parse_sweep_id(text: str) -> SweepId | None:
    """Return the parsed id; None if the text is not an id."""
    match = _FORM.fullmatch(text)
    return SweepId(match["name"], match["stamp"]) if match else None
