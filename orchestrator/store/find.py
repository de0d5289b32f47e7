"""Finding a sweep among those of a runs folder."""

from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.store.paths import SweepPaths
from orchestrator.store.sweep_id import parse_sweep_id, safe_name

LATEST = "latest"
_SHOWN = 5


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
