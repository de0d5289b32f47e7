"""Small cells, matrices, records and series for tests to which their content does not matter."""

import pyarrow as pa

from orchestrator.records.record import Attempt, CellRecord, Reason, Status
from orchestrator.records.series import POWER, REQUESTS
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Matrix, Settings, TrackingSettings

ENGINE = "sample_plugins.engine"

_MODEL = {
    "name": "tiny",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "max_model_len": 4096,
}
_HARDWARE = {
    "name": "gpu",
    "num_gpus": 1,
    "memory_gib": 80,
    "memory_bandwidth_gb_s": 3350,
    "peak_tflops": 989,
    "interconnect_gb_s": 450,
    "idle_power_w": 70,
    "default_power_limit_w": 700,
    "min_power_limit_w": 200,
    "max_power_limit_w": 700,
    "min_sm_clock_mhz": 345,
    "max_sm_clock_mhz": 1980,
    "calibration": {"static_power_w": 100, "memory_power_w": 200, "compute_power_w": 300, "sampling_power_w": 5},
}


def a_cell(*, users: int = 4, power_limit_w: float | None = None, max_num_seqs: int = 8, repeat: int = 0) -> Cell:
    """Return a chat cell with a closed load."""
    lengths = {"kind": "fixed", "tokens": 100}
    return Cell.model_validate(
        {
            "model": _MODEL,
            "engine": {"kind": ENGINE, "max_num_seqs": max_num_seqs, "max_num_batched_tokens": 2048},
            "hardware": {**_HARDWARE, "power_limit_w": power_limit_w},
            "workflow": {"kind": "chat", "prompt_tokens": lengths, "output_tokens": lengths},
            "load": {"kind": "closed", "users": users, "num_workflows": 10},
            "repeat": repeat,
        }
    )


def a_matrix(*cells: Cell, name: str = "demo", swept: tuple[str, ...] = ("load.users",)) -> Matrix:
    """Return a matrix of these cells, or of two default ones."""
    chosen = cells or (a_cell(users=1), a_cell(users=2))
    return Matrix(name=name, cells=chosen, overrides=(f"+sweep={name}",), swept=swept, notes=())


def settings(**changes: object) -> Settings:
    """Return the default settings with ``changes``."""
    return Settings.model_validate({"tracking": TrackingSettings(enabled=False), **changes})


def an_attempt(number: int = 1, outcome: str = "ok", ended_unix_s: float = 2000.5) -> Attempt:
    """Return an attempt of five seconds on the host node-1."""
    error = {"error_kind": "CellError", "error": "ValueError: boom"} if outcome == "failed" else {}
    return Attempt.model_validate(
        {
            "number": number,
            "started_unix_s": ended_unix_s - 5,
            "ended_unix_s": ended_unix_s,
            "host": "node-1",
            "outcome": outcome,
            **error,
        }
    )


def a_record(
    cell: Cell,
    status: Status = "ok",
    *,
    transient: tuple[bool, ...] = (),
    attempts: tuple[Attempt, ...] | None = None,
    metrics: dict[str, float] | None = None,
) -> CellRecord:
    """Return a record of a cell with one reason for each entry of ``transient``."""
    return CellRecord(
        cell_id=cell.cell_id,
        engine_key=cell.engine_key,
        status=status,
        simulated=True,
        reasons=tuple(Reason(code=f"reason_{i}", detail="why", transient=t) for i, t in enumerate(transient)),
        cell=cell.canonical(),
        metrics={"total_gpu_energy_j": 12.5, "num_requests": 10.0} if metrics is None else metrics,
        attempts=(an_attempt(outcome=status),) if attempts is None else attempts,
    )


def some_series(rows: int = 3) -> dict[str, pa.Table]:
    """Return two short series."""
    power = {name: [float(i) for i in range(rows)] for name in POWER.names if name != "device"}
    power["device"] = ["SIM-0"] * rows
    return {
        "power": pa.table(power, schema=POWER),
        "requests": REQUESTS.empty_table(),
    }
