"""Paths of a sweep and of its cells, and how to find a sweep."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.store.manifest import parse_sweep_id, safe_name

LATEST = "latest"
_MAX_LISTED = 5


@dataclass(frozen=True, slots=True)
class CellPaths:
    """The folder of one cell."""

    folder: Path

    @property
    def record(self) -> Path:
        """Return the record, which is the commit marker: if it exists, the cell is complete."""
        return self.folder / "record.json"

    def series(self, name: str) -> Path:
        """Return the raw series of this name."""
        return self.folder / f"{name}.parquet"


@dataclass(frozen=True, slots=True)
class SweepPaths:
    """The folder of one sweep, named by its id."""

    root: Path

    @property
    def sweep_id(self) -> str:
        """Return the sweep's id, which is the name of the folder."""
        return self.root.name

    @property
    def manifest(self) -> Path:
        """Return the manifest."""
        return self.root / "sweep.json"

    @property
    def lock(self) -> Path:
        """Return the lock file; its content names the holder."""
        return self.root / "lock"

    @property
    def cells(self) -> Path:
        """Return the folder with one folder per cell that has a record."""
        return self.root / "cells"

    def cell(self, cell_id: str) -> CellPaths:
        """Return the paths of the cell with this id."""
        return CellPaths(self.cells / cell_id)

    @property
    def lanes(self) -> Path:
        """Return the folder with one file per lane; it does not exist if no engine was kept between cells."""
        return self.root / "lanes"

    def lane(self, lane_id: str) -> Path:
        """Return the record of a lane: one start of an engine."""
        return self.lanes / f"{lane_id}.json"

    @property
    def results_parquet(self) -> Path:
        """Return the table with one row per cell."""
        return self.root / "results.parquet"

    @property
    def results_csv(self) -> Path:
        """Return the same table as CSV."""
        return self.root / "results.csv"

    @property
    def repeats_parquet(self) -> Path:
        """Return the table of pooled repeats, one row per configuration; it exists only if there are repeats."""
        return self.root / "repeats.parquet"

    @property
    def repeats_csv(self) -> Path:
        """Return the same table as CSV."""
        return self.root / "repeats.csv"

    @property
    def report(self) -> Path:
        """Return the HTML report."""
        return self.root / "report.html"

    @property
    def findings(self) -> Path:
        """Return the findings of the report as JSON."""
        return self.root / "findings.json"

    @property
    def figures(self) -> Path:
        """Return the folder of the report's PNG figures."""
        return self.root / "figures"


def list_sweeps(runs_dir: Path, name: str | None = None) -> tuple[SweepPaths, ...]:
    """Return the sweeps of a runs folder, newest first; only those called ``name`` if it is given."""
    sweeps: list[tuple[str, SweepPaths]] = []
    for folder in runs_dir.iterdir() if runs_dir.is_dir() else ():
        sweep_id = parse_sweep_id(folder.name)
        if sweep_id is None or (name is not None and sweep_id.name != safe_name(name)):
            continue
        paths = SweepPaths(folder)
        if paths.manifest.is_file():
            sweeps.append((sweep_id.stamp, paths))
    return tuple(paths for _, paths in sorted(sweeps, key=lambda pair: pair[0], reverse=True))


def find_sweep(runs_dir: Path, wanted: str, name: str | None = None) -> SweepPaths:
    """Return the sweep that ``wanted`` names: an id, the path of its folder, or ``latest`` (of this name, if given).

    Raises:
        UserError: there is no such sweep; the message lists the newest few.
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
        return "the folder has no sweeps"
    return "the newest are: " + ", ".join(paths.sweep_id for paths in sweeps[:_MAX_LISTED])
