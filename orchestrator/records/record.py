"""The record of a cell (``record.json``) and of a lane: metrics, reasons, provenance, attempts."""

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

Status = Literal["ok", "failed", "invalid"]

SCHEMA_VERSION = 1
"""Version of cells and records."""


class Phase(BaseModel):
    """A named part of a cell, on the cell's clock. Units: s."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    start_s: float
    end_s: float


class Reason(BaseModel):
    """Why a cell that ran must not be pooled. With a transient reason, it is run again on resume."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    detail: str
    transient: bool


class Attempt(BaseModel):
    """One attempt at a cell: where it ran, for how long on the wall clock, and how it ended.

    ``node`` is the id of the Ray node; two nodes may share a host. ``lane`` is the id of the lane's record, if any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    started_unix_s: float
    ended_unix_s: float
    host: str
    node: str | None = None
    lane: str | None = None
    outcome: Literal["ok", "invalid", "failed"]
    error_kind: str | None = None
    error: str | None = None


class LaneRecord(BaseModel):
    """One start of an engine, in ``lanes/<lane_id>.json``; the attempts of its cells name it.

    ``clock`` is one instant on the wall clock and on CLOCK_MONOTONIC of the lane's host (unix_s, monotonic_s).
    ``engine_start_s`` is None if the engine did not start; ``ended_unix_s`` and ``end`` are None while it runs. The
    idle powers (before the start, and loaded) and the energy of the start are None if not measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    lane_id: str
    engine_key: str
    node: str | None = None
    host: str | None = None
    devices: tuple[str, ...] = ()
    provenance: dict[str, str] = {}
    started_unix_s: float
    clock: dict[str, float] | None = None
    engine_start_s: float | None = None
    ended_unix_s: float | None = None
    end: str | None = None
    n_cells: int = 0
    bare_idle_power_w: float | None = None
    engine_start_energy_j: float | None = None
    loaded_idle_power_w: float | None = None


class CellRecord(BaseModel):
    """All results of one cell. A metric that was not measured is absent, never zero.

    ``control`` holds by GPU UUID the limit and clock requested, set and enforced; None if nothing could be set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    cell_id: str
    engine_key: str
    status: Status
    simulated: bool
    reasons: tuple[Reason, ...] = ()
    cell: dict[str, Any]
    window: dict[str, Any] | None = None
    phases: tuple[Phase, ...] = ()
    provenance: dict[str, Any] = {}
    control: dict[str, Any] | None = None
    metrics: dict[str, float] = {}
    attempts: tuple[Attempt, ...] = ()
    series: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """The result that a worker sends to the driver; picklable, and not written yet."""

    status: Literal["ok", "invalid"]
    simulated: bool
    reasons: tuple[Reason, ...]
    window: dict[str, Any]
    phases: tuple[Phase, ...]
    provenance: dict[str, Any]
    metrics: dict[str, float]
    series: dict[str, pa.Table]
    control: dict[str, Any] | None = None
