"""A sweep in MLflow: a parent run, and one nested run per cell. Logging can stop after any step and be repeated.

A cell's run belongs to one content of its record, named by the tag ``RECORD`` on creation; another content (a later
attempt) replaces the run. The tag ``LOGGED`` is set last, when the run is complete.
"""

import hashlib
from dataclasses import replace

from orchestrator.analysis.results import full_config
from orchestrator.errors import UserError
from orchestrator.records import provenance
from orchestrator.records.record import CellRecord
from orchestrator.report.sketch import sketch
from orchestrator.spec.names import run_name
from orchestrator.store.sweep import SweepStore
from orchestrator.tracking import run_content
from orchestrator.tracking.mlflow_sink import SWEEP_ID, MlflowSink, RunStatus, RunView
from orchestrator.tracking.run_content import (
    KIND,
    cell_params,
    cell_tags,
    colour_tag,
    saved_view,
    source_tags,
    sweep_params,
    sweep_tags,
)

CELL_ID = "joulegrid.cell_id"
RECORD = "joulegrid.record"
LOGGED = "joulegrid.logged"
_PARENT = "mlflow.parentRunId"


class SweepLog:
    """Brings MLflow up to date with the disk. Used by one thread, in the process that holds the sweep's lock."""

    def __init__(self, sink: MlflowSink, store: SweepStore) -> None:
        self._sink = sink
        self._store = store
        self._parent: RunView | None = None
        self._cells: dict[str, RunView] = {}
        self._searched = False

    def unlogged(self) -> tuple[str, ...]:
        """Return the ids of cells whose record MLflow does not have completely, in the order of the matrix."""
        self._search()
        contents = ((cell_id, self._store.committed(cell_id)) for cell_id in self._store.manifest.order)
        return tuple(
            cell_id
            for cell_id, committed in contents
            if committed is not None and not self._has(cell_id, _digest(committed[0]))
        )

    def open(self) -> None:
        """Create the parent run, or set it to running."""
        self._search()
        self._searched = False
        parent = self._parent_run()
        if parent.status != "RUNNING":
            self._sink.set_status(parent.run_id, "RUNNING")
            self._parent = replace(parent, status="RUNNING")
        self._searched = True

    def log_cell(self, cell_id: str) -> bool:
        """Log a cell unless MLflow has it completely; return whether anything was logged."""
        self._search()
        committed = self._store.committed(cell_id)
        if committed is None:
            return False
        content, record = committed
        digest = _digest(content)
        if self._has(cell_id, digest):
            return False
        self._searched = False  # until every call succeeded; after a failure, search again what MLflow has
        run_id = self._run_for(record, digest)
        self._fill(run_id, record, digest)
        self._cells[cell_id] = RunView(run_id, _run_status(record), {RECORD: digest, LOGGED: digest})
        self._searched = True
        return True

    def log_sweep(self) -> None:
        """Update the parent (counts, tables, report) and end it."""
        self._search()
        paths = self._store.paths
        files = [paths.manifest, paths.results_csv, paths.repeats_csv, paths.report, paths.findings]
        files += sorted(paths.figures.glob("*.png"))
        files = [path for path in files if path.is_file()]
        records = list(self._store.records())
        tags = sweep_tags(self._store.manifest, records)
        digest = _digest(repr(tags).encode(), *(path.read_bytes() for path in files))
        self._searched = False
        parent = self._parent_run()
        if parent.tags.get(LOGGED) != digest or parent.status == "RUNNING":
            self._tag_experiment()
            findings = run_content.findings_in(paths.findings)
            tags[run_content.NOTE_TAG] = run_content.sweep_note(self._store.manifest, records, findings, parent.run_id)
            self._sink.log(parent.run_id, sweep_params(self._store.manifest), {}, tags=tags)
            for path in files:
                self._sink.upload(parent.run_id, path, folder="figures" if path.parent == paths.figures else None)
            complete = not self._store.manifest.missing({record.cell_id for record in records})
            self._sink.set_status(parent.run_id, "FINISHED" if complete else "KILLED", provenance.unix_now_s())
            self._sink.tag(parent.run_id, LOGGED, digest)
        self._searched = True

    def _search(self) -> None:
        """Search what MLflow has: once, and again after a call whose effect is unknown."""
        if self._searched:
            return
        self._parent, self._cells = None, {}
        for run in self._without_duplicates(self._sink.runs_of(self._store.sweep_id)):
            cell_id = run.tags.get(CELL_ID)
            if cell_id is None:
                self._parent = run
            else:
                self._cells[cell_id] = run
        self._searched = True

    def _without_duplicates(self, runs: list[RunView]) -> list[RunView]:
        """Delete duplicate runs, which repeated requests create; keep a complete run, or else the oldest."""
        kept: dict[str | None, RunView] = {}
        for run in sorted(runs, key=lambda run: LOGGED not in run.tags):
            if kept.setdefault(run.tags.get(CELL_ID), run) is not run:
                self._sink.delete(run.run_id)
        return list(kept.values())

    def _has(self, cell_id: str, digest: str) -> bool:
        run = self._cells.get(cell_id)
        return run is not None and run.tags.get(LOGGED) == digest

    def _parent_run(self) -> RunView:
        if self._parent is None:
            manifest = self._store.manifest
            tags = {
                SWEEP_ID: manifest.sweep_id,
                run_content.NOTE_TAG: run_content.sweep_note(manifest, ()),
                **source_tags(),
            }
            run_id = self._sink.create(manifest.sweep_id, tags, manifest.created_unix_s)
            self._parent = RunView(run_id, "RUNNING", tags)
            self._sink.log(run_id, sweep_params(manifest), {})
            self._tag_experiment()
        return self._parent

    def _tag_experiment(self) -> None:
        """Set the tags that let MLflow's page open on the table of the cells."""
        self._sink.tag_experiment(*KIND)
        view = saved_view(self._store.manifest, SWEEP_ID)
        if view is not None:
            self._sink.tag_experiment(*view)

    def _run_for(self, record: CellRecord, digest: str) -> str:
        run = self._cells.get(record.cell_id)
        if run is not None and run.tags.get(RECORD) == digest:
            return run.run_id
        if run is not None:
            self._sink.delete(run.run_id)
        parent = self._parent_run()
        own = {SWEEP_ID: self._store.sweep_id, CELL_ID: record.cell_id, RECORD: digest, _PARENT: parent.run_id}
        tags = {**cell_tags(record), **own, **colour_tag(self._store.manifest, record)}
        return self._sink.create(self._name(record), tags, self._started_unix_s(record))

    def _fill(self, run_id: str, record: CellRecord, digest: str) -> None:
        ended = record.attempts[-1].ended_unix_s if record.attempts else self._store.manifest.created_unix_s
        drawing = sketch_of(self._store, record, self._name(record))
        note = {
            run_content.NOTE_TAG: run_content.cell_note(self._name(record), record, run_id, drawn=drawing is not None)
        }
        self._sink.log(run_id, cell_params(full_config(record)), record.metrics, at_unix_s=ended, tags=note)
        self._sink.upload(run_id, self._store.paths.cell(record.cell_id).folder)
        if drawing is not None:
            self._sink.upload_text(run_id, run_content.SKETCH, drawing)
        self._sink.set_status(run_id, _run_status(record), ended)
        self._sink.tag(run_id, LOGGED, digest)

    def _name(self, record: CellRecord) -> str:
        return run_name(full_config(record), self._store.manifest.swept) or record.cell_id

    def _started_unix_s(self, record: CellRecord) -> float:
        return record.attempts[-1].started_unix_s if record.attempts else self._store.manifest.created_unix_s


def _run_status(record: CellRecord) -> RunStatus:
    """Return FINISHED only for ok cells, so that the finished runs are those that may be pooled."""
    return "FINISHED" if record.status == "ok" else "FAILED"


def _digest(*contents: bytes) -> str:
    """Return the SHA-256 of the concatenated contents; of a record, it equals ``sha256sum record.json``."""
    return hashlib.sha256(b"".join(contents)).hexdigest()


def sketch_of(store: SweepStore, record: CellRecord, name: str) -> str | None:
    """Return the timeline of a cell as SVG; None if the cell has no readable power series."""
    if "power" not in record.series:
        return None
    window = record.window or {}
    bounds = (window["start_s"], window["end_s"]) if {"start_s", "end_s"} <= window.keys() else None
    try:
        return sketch(
            store.read_series(record, "power"),
            store.read_series(record, "iterations") if "iterations" in record.series else None,
            title=f"{'SIMULATED · ' if record.simulated else ''}{name}",
            window_s=bounds,
            cap_w=_cap_w(record),
        )
    except UserError:  # a damaged series: log the record all the same
        return None


def _cap_w(record: CellRecord) -> float | None:
    """Return the power limit of all GPUs of the cell together; None if none was set."""
    config = full_config(record)
    limit = config.get("hardware.power_limit_w")
    return None if limit is None else limit * config.get("engine.tensor_parallel_size", 1)
