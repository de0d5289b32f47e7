"""What is kept of a cell: the record (`record.json`), describing itself, beside its raw series."""

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

Status = Literal["ok", "failed", "invalid"]

SCHEMA_VERSION = 1
"""Version of cells and records. 1: first."""


class Phase(BaseModel):
    """A named part of a cell on its own clock. Units: s."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    start_s: float
    end_s: float


class Reason(BaseModel):
    """Why a cell that ran must not be pooled; a transient reason is tried again on resume."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    detail: str
    transient: bool


class Attempt(BaseModel):
    """One try at a cell: where it ran, how long it took on the wall clock, and what ended it.

    ``node`` is the id of the Ray node; two nodes may share a host. ``lane`` names the lane record, if it ran on one.
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
    """One start of an engine and what it served: kept in ``lanes/<lane_id>.json``, named by the attempts of its cells.

    ``clock`` is one instant on the wall clock and on CLOCK_MONOTONIC of the lane's host (unix_s, monotonic_s).
    ``engine_start_s`` is missing where the engine did not start, ``ended_unix_s`` and ``end`` while it is up. The idle
    fields are powers, the start's an energy, missing where they were not measured.
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
    """The truth about one cell. ``metrics`` holds only what was measured: missing is absent, never zero.

    ``control`` says by GPU UUID which limit and clock were requested, set and enforced; None where none could be set.
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
    """What `run_cell` returns and a worker sends to the driver: picklable, nothing written yet."""

    status: Literal["ok", "invalid"]
    simulated: bool
    reasons: tuple[Reason, ...]
    window: dict[str, Any]
    phases: tuple[Phase, ...]
    provenance: dict[str, Any]
    metrics: dict[str, float]
    series: dict[str, pa.Table]
    control: dict[str, Any] | None = None
