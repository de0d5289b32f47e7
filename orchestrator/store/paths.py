"""Every path of a sweep and of its cells."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CellPaths:
    """The folder of one cell."""

    folder: Path

    @property
    def record(self) -> Path:
        """The commit marker: where it is whole, so is the cell."""
        return self.folder / "record.json"

    def series(self, name: str) -> Path:
        """The raw series of this name."""
        return self.folder / f"{name}.parquet"


@dataclass(frozen=True, slots=True)
class SweepPaths:
    """The folder of one sweep, named by its id."""

    root: Path

    @property
    def sweep_id(self) -> str:
        """The sweep's id: the folder's own name."""
        return self.root.name

    @property
    def manifest(self) -> Path:
        """What was asked for, and each start of it."""
        return self.root / "sweep.json"

    @property
    def lock(self) -> Path:
        """Held by the driver at work; its content says who that is."""
        return self.root / "lock"

    @property
    def cells(self) -> Path:
        """One folder per cell that has a record."""
        return self.root / "cells"

    def cell(self, cell_id: str) -> CellPaths:
        """The folder of the cell with this id."""
        return CellPaths(self.cells / cell_id)

    @property
    def lanes(self) -> Path:
        """One file per start of an engine; absent where none was kept between cells."""
        return self.root / "lanes"

    def lane(self, lane_id: str) -> Path:
        """The record of one start of an engine."""
        return self.lanes / f"{lane_id}.json"

    @property
    def results_parquet(self) -> Path:
        """One row a cell."""
        return self.root / "results.parquet"

    @property
    def results_csv(self) -> Path:
        """The same rows, for spreadsheets."""
        return self.root / "results.csv"

    @property
    def repeats_parquet(self) -> Path:
        """Repeats pooled, a row a configuration; only where there are repeats."""
        return self.root / "repeats.parquet"

    @property
    def repeats_csv(self) -> Path:
        """The same as text."""
        return self.root / "repeats.csv"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.root / "report.html"

    @property
    def findings(self) -> Path:
        """What the report found, for programs."""
        return self.root / "findings.json"

    @property
    def figures(self) -> Path:
        """PNG figures of the report."""
        return self.root / "figures"
