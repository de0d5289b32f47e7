"""A sweep on disk: manifest, lock, records and series. Only the driver writes."""

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from orchestrator.errors import CellError, EnvironmentFailure, UserError
from orchestrator.records import provenance
from orchestrator.records.record import SCHEMA_VERSION, CellRecord, LaneRecord
from orchestrator.spec.settings import Matrix, Settings
from orchestrator.store.files import remove_leftovers, replacing, sync_folder, usable, write_whole
from orchestrator.store.lock import SweepLock
from orchestrator.store.manifest import Start, SweepManifest, new_manifest, new_sweep_id
from orchestrator.store.paths import CellPaths, SweepPaths

_ATTEMPT = b"joulegrid.attempt"
_logger = logging.getLogger(__name__)


def prepare_runs_dir(runs_dir: Path) -> None:
    """Make the folder of all sweeps and check that it is writable, before any work is done.

    Raises:
        EnvironmentFailure: the folder cannot be made or written.
    """
    probe = runs_dir / ".writable"
    with usable(runs_dir):
        runs_dir.mkdir(parents=True, exist_ok=True)
        write_whole(probe, b"")
        probe.unlink(missing_ok=True)


class SweepStore:
    """The manifest, records and series of one sweep."""

    def __init__(self, paths: SweepPaths, manifest: SweepManifest) -> None:
        self.paths = paths
        self._manifest = manifest

    @classmethod
    def create(cls, runs_dir: Path, matrix: Matrix, settings: Settings, provenance_: Mapping[str, Any]) -> Self:
        """Create a sweep and write its manifest.

        Raises:
            EnvironmentFailure: the folder cannot be written.
        """
        start = new_start(matrix.overrides, settings, provenance_)
        with usable(runs_dir):
            paths = _new_folder(runs_dir, matrix.name)
            manifest = new_manifest(paths.sweep_id, matrix, start)
            write_whole(paths.manifest, _stable_json(manifest))
            sync_folder(runs_dir)
        return cls(paths, manifest)

    @classmethod
    def open(cls, root: Path) -> Self:
        """Open the sweep in the folder ``root``.

        Raises:
            UserError: there is no sweep, or its manifest is damaged or has another schema version.
        """
        paths = SweepPaths(root)
        return cls(paths, _read_manifest(paths.manifest))

    @property
    def sweep_id(self) -> str:
        """Return the sweep's id."""
        return self._manifest.sweep_id

    @property
    def manifest(self) -> SweepManifest:
        """Return the manifest as last written or read."""
        return self._manifest

    def lock(self) -> SweepLock:
        """Return the sweep's lock, not taken yet; hold it in a ``with`` block around everything that writes."""
        return SweepLock(self.paths.lock)

    def replace_manifest(self, manifest: SweepManifest) -> None:
        """Replace the manifest on disk."""
        with usable(self.paths.manifest):
            write_whole(self.paths.manifest, _stable_json(manifest))
        self._manifest = manifest

    def write(self, record: CellRecord, series: Mapping[str, pa.Table]) -> CellRecord:
        """Write the series of a cell, then its record, which commits them; return the record as written.

        The record's ``series`` become the names of the given series. A crash at any point leaves the cell's old
        record or the new one.

        Raises:
            EnvironmentFailure: the folder cannot be written or the disk is full.
            CellError: the record has a number that JSON cannot hold (NaN, infinity); nothing is written.
        """
        cell = self.paths.cell(record.cell_id)
        record = record.model_copy(update={"series": tuple(sorted(series))})
        content = _record_bytes(record)
        with usable(cell.folder):
            self._make_folder(cell)
            for name, table in series.items():
                _write_series(cell.series(name), table, len(record.attempts))
            sync_folder(cell.folder)
            write_whole(cell.record, content)
            _remove_other_series(cell, record.series)
        return record

    def write_lane(self, record: LaneRecord) -> None:
        """Write the record of a lane in place of its old one.

        Raises:
            EnvironmentFailure: the folder cannot be written or the disk is full.
        """
        with usable(self.paths.lanes):
            self.paths.lanes.mkdir(exist_ok=True)
            write_whole(self.paths.lane(record.lane_id), _stable_json(record))

    def lanes(self) -> Iterator[LaneRecord]:
        """Yield the lane records; skip damaged ones with a logged warning."""
        for path in sorted(self.paths.lanes.glob("*.json")):
            try:
                yield LaneRecord.model_validate_json(path.read_bytes())
            except ValidationError as error:
                _logger.warning("%s is damaged and left out: %s", path, error.errors()[0]["msg"])

    def read_record(self, cell_id: str) -> CellRecord | None:
        """Return the record of a cell; None if it is missing or damaged (logged as a warning)."""
        committed = self.committed(cell_id)
        return None if committed is None else committed[1]

    def committed(self, cell_id: str) -> tuple[bytes, CellRecord] | None:
        """Return the bytes of the record, which identify its content, and the record; None as in ``read_record``."""
        path = self.paths.cell(cell_id).record
        try:
            content = path.read_bytes()
            return content, CellRecord.model_validate_json(content)
        except FileNotFoundError:
            return None
        except ValidationError as error:
            _logger.warning("%s is damaged and counts as missing: %s", path, error.errors()[0]["msg"])
            return None
        except OSError as error:
            raise EnvironmentFailure(f"cannot read {path}: {error.strerror}") from error

    def records(self) -> Iterator[CellRecord]:
        """Yield the records in the order of the matrix."""
        for cell_id in self._manifest.order:
            record = self.read_record(cell_id)
            if record is not None:
                yield record

    def read_series(self, record: CellRecord, name: str) -> pa.Table:
        """Return a series of a record.

        Raises:
            UserError: the record has no such series, or the file is damaged or belongs to another attempt (the driver
                was killed while it replaced the cell; a resume repairs it).
        """
        path = self.paths.cell(record.cell_id).series(name)
        if name not in record.series:
            raise UserError(
                f"cell {record.cell_id} has no series {name!r}; it has: {', '.join(record.series) or 'none'}"
            )
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}; run the cell again") from error
        metadata = dict(table.schema.metadata or {})
        if metadata.pop(_ATTEMPT, None) != str(len(record.attempts)).encode():
            raise UserError(
                f"{path} belongs to another attempt than its record.json; resume the sweep to run the cell again"
            )
        return table.replace_schema_metadata(metadata or None)

    def _make_folder(self, cell: CellPaths) -> None:
        if cell.folder.is_dir():
            remove_leftovers(cell.folder)
            return
        cell.folder.mkdir(parents=True)
        sync_folder(self.paths.cells)


def new_start(overrides: tuple[str, ...], settings: Settings, provenance_: Mapping[str, Any]) -> Start:
    """Return a start of a driver at the present time."""
    return Start(
        unix_s=provenance.unix_now_s(),
        overrides=overrides,
        settings=settings.model_dump(mode="json", exclude={"tracking", "output"}),  # an address may hold a password
        provenance=dict(provenance_),
    )


def _new_folder(runs_dir: Path, name: str) -> SweepPaths:
    while True:
        paths = SweepPaths(runs_dir / str(new_sweep_id(name, provenance.unix_now_s())))
        try:
            paths.root.mkdir(parents=True)
        except FileExistsError:
            if paths.root.is_dir():
                continue
            raise
        paths.cells.mkdir()
        return paths


def _read_manifest(path: Path) -> SweepManifest:
    try:
        plain = json.loads(path.read_bytes())
        version = plain["schema_version"]
        if version != SCHEMA_VERSION:
            raise UserError(f"{path} has schema version {version}; this Joulegrid reads version {SCHEMA_VERSION}")
        return SweepManifest.model_validate(plain)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path.parent} is not a sweep: it has no {path.name}") from error
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from error


def _stable_json(model: BaseModel) -> bytes:
    """Return the model as JSON; equal models give equal bytes."""
    return (json.dumps(model.model_dump(mode="json"), sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def _record_bytes(record: CellRecord) -> bytes:
    try:
        return _stable_json(record)
    except ValueError as error:
        bad = [key for key, value in record.metrics.items() if not math.isfinite(value)]
        raise CellError(f"cell {record.cell_id}: not a finite number: {', '.join(bad) or 'a field'}") from error


def _write_series(path: Path, table: pa.Table, attempt: int) -> None:
    metadata = {**(table.schema.metadata or {}), _ATTEMPT: str(attempt).encode()}
    with replacing(path) as file:
        pq.write_table(table.replace_schema_metadata(metadata), file, compression="zstd")


def _remove_other_series(cell: CellPaths, names: tuple[str, ...]) -> None:
    for path in cell.folder.glob("*.parquet"):
        if path.stem not in names:
            path.unlink()
