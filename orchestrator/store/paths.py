"""Every path of a sweep and of its cells."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.store.manifest import parse_sweep_id, safe_name

LATEST = "latest"
_SHOWN = 5


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


def list_sweeps(runs_dir: Path, name: str | None = None) -> tuple[SweepPaths, ...]:
    """The sweeps of a runs folder, newest first; only those called ``name`` where one is given."""
    found: list[tuple[str, SweepPaths]] = []
    for folder in runs_dir.iterdir() if runs_dir.is_dir() else ():
        sweep_id = parse_sweep_id(folder.name)
        if sweep_id is None or (name is not None and sweep_id.name != safe_name(name)):
            continue
        paths = SweepPaths(folder)
        if paths.manifest.is_file():
            found.append((sweep_id.stamp, paths))
    return tuple(paths for _, paths in sorted(found, key=lambda pair: pair[0], reverse=True))


def find_sweep(runs_dir: Path, wanted: str, name: str | None = None) -> SweepPaths:
    """The sweep that ``wanted`` names: an id, the path of its folder, or ``latest`` (of this name, if given).

    Raises:
        UserError: there is none; the message lists the newest few.
    """
    if wanted == LATEST:
        sweeps = list_sweeps(runs_dir, name)
        if sweeps:
            return sweeps[0]
        called = f" called {name!r}" if name is not None else ""
        raise UserError(f"there is no sweep{called} in {runs_dir}; {_newest(runs_dir)}")
    for paths in (SweepPaths(runs_dir / wanted), SweepPaths(Path(wanted))):
        if paths.manifest.is_file():
            return paths
    raise UserError(f"there is no sweep {wanted!r} in {runs_dir}; {_newest(runs_dir)}")


def _newest(runs_dir: Path) -> str:
    sweeps = list_sweeps(runs_dir)
    if not sweeps:
        return "it holds no sweep at all"
    return "the newest are: " + ", ".join(paths.sweep_id for paths in sweeps[:_SHOWN])
