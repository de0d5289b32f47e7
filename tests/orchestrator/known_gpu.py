"""Sweeps of records as if measured, on a simulated GPU whose coefficients are known."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa

from benchmarks.attribution_truth import StrangeCosts, shown
from benchmarks.played_sensor import Sensor
from orchestrator.calibrate.errors import simulated_twin
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.measure.columns import Floats
from orchestrator.measure.summary import summarise
from orchestrator.records.record import Attempt, CellRecord, Reason
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec
from orchestrator.spec.settings import Matrix, Settings
from orchestrator.store.sweep import SweepStore

FACTORS = {
    "weight_bandwidth_efficiency": 0.88,
    "flop_efficiency": 0.78,
    "kv_bandwidth_efficiency": 0.85,
    "layer_overhead_s": 1.25,
    "prefill_overhead_s": 0.8,
    "sequence_overhead_s": 1.2,
    "memory_power_w": 0.85,
    "compute_power_w": 0.8,
    "sampling_power_w": 0.8,
}
"""True over prior coefficients."""
IDLE_FACTOR, STATIC_ABOVE_IDLE_FACTOR = 1.3, 1.07

_BASE = ("engine=vllm", "collectors=nvml", "collectors.cpu_power=none")
_SHORT = ("protocol.warmup_s=0", "protocol.max_repetitions=1", "protocol.min_window_s=1")
_KEPT = ("iterations", "power", "requests", "steps", "scheduled")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGpu:
    """How the true GPU differs from the preset, and what of it is recorded.

    ``noise_ratio`` is the standard deviation of an iteration's duration over its mean; ``strange`` gives the GPU costs
    of another form (`StrangeCosts`); ``power_limit_w`` slows heavy batches and is in no record.
    """

    factors: Mapping[str, float] = field(default_factory=lambda: FACTORS)
    noise_ratio: float = 0.03
    sensor: Sensor = field(default_factory=Sensor)
    strange: bool = False
    power_limit_w: float | None = None
    keep: Sequence[str] = _KEPT


def planned(*overrides: str) -> tuple[Cell, ...]:
    """Cells of a real engine; the GPU and the model may be overridden."""
    chosen = {"hardware": "h200_sxm", "model": "llama3_1_8b"}
    chosen |= {key: value for key, _, value in (one.partition("=") for one in overrides) if key in chosen}
    rest = (one for one in overrides if one.partition("=")[0] not in chosen)
    expansion = compose((*_BASE, *(f"{key}={value}" for key, value in chosen.items()), *rest))
    assert expansion is not None
    return build(expansion)[0].cells


def a_cell(batch: int, workflow: str = "chat", *more: str, workflows: int | None = None) -> Cell:
    """A short closed-loop cell with as many users as ``max_num_seqs``."""
    n = workflows or max(16, 3 * batch)
    load = ("load=closed", f"load.users={batch}", f"load.num_workflows={n}", f"engine.max_num_seqs={batch}")
    return planned(f"workflow={workflow}", *load, *_SHORT, *more)[0]


def true_gpu(cell: Cell, known: KnownGpu) -> HardwareSpec:
    """The GPU on which the cell is really run."""
    plain = cell.gpu.model_dump()
    calibration, idle_w = plain["calibration"], plain["idle_power_w"]
    for name, factor in known.factors.items():
        calibration[name] *= factor
    calibration["static_power_w"] = IDLE_FACTOR * idle_w + STATIC_ABOVE_IDLE_FACTOR * (
        calibration["static_power_w"] - idle_w
    )
    changed = {"idle_power_w": IDLE_FACTOR * idle_w, "power_limit_w": known.power_limit_w}
    return HardwareSpec.model_validate({**plain, **changed})


def measured_sweep(
    folder: Path, cells: Sequence[Cell], known: KnownGpu, invalid: Mapping[int, str] | None = None
) -> Path:
    """Write the records of these cells on the true GPU; ``invalid`` gives the reasons of some by index."""
    matrix = Matrix(name="known", cells=tuple(cells), overrides=(), swept=("engine.max_num_seqs",), notes=())
    store = SweepStore.create(folder, matrix, Settings(), {})
    for index, cell in enumerate(cells):
        series = _series(cell, known, seed=index)
        reason = (invalid or {}).get(index)
        record = CellRecord(
            cell_id=cell.cell_id,
            engine_key=cell.engine_key,
            status="ok" if reason is None else "invalid",
            simulated=False,
            reasons=() if reason is None else (Reason(code=reason, detail="", transient=False),),
            cell=cell.canonical(),
            provenance={"vllm": "0.0.0"},
            metrics=summarise(cell, series).metrics,
            attempts=(Attempt(number=1, started_unix_s=index, ended_unix_s=index + 1, host="h", outcome="ok"),),
        )
        store.write(record, {name: table for name, table in series.items() if name in known.keep})
    return store.paths.root


def _series(cell: Cell, known: KnownGpu, *, seed: int) -> dict[str, pa.Table]:
    """What a sampler and an iteration log would record of the cell on the true GPU."""
    twin = simulated_twin(cell, true_gpu(cell, known), stepping="step_by_step", record_scheduled=True)
    with _costs(known):
        series = run_cell(twin).series
    return shown(twin, _jittered(series, known.noise_ratio, np.random.default_rng(seed)), known.sensor)


@contextmanager
def _costs(known: KnownGpu) -> Iterator[None]:
    strange = mock.patch("orchestrator.engines.simulated.engine.CostModel", StrangeCosts)
    with strange if known.strange else nullcontext():
        yield


def _jittered(series: Mapping[str, pa.Table], noise_ratio: float, draw: np.random.Generator) -> dict[str, pa.Table]:
    """Every iteration longer or shorter, and all times of the cell moved with it."""
    start_s, end_s = (series["iterations"].column(name).to_numpy() for name in ("start_s", "end_s"))
    edges_s = np.concatenate([[0.0], np.stack([start_s, end_s], axis=1).ravel()])
    lengths_s = np.diff(edges_s)
    lengths_s[1::2] *= np.maximum(1 + noise_ratio * draw.standard_normal(len(end_s)), 0.1)
    moved_s = np.concatenate([[0.0], np.cumsum(lengths_s)])

    def moved(times_s: Floats) -> Floats:
        beyond_s = np.maximum(times_s - edges_s[-1], 0.0)
        later_s: Floats = np.interp(times_s, edges_s, moved_s) + beyond_s
        return later_s

    return {name: _moved(table, moved) for name, table in series.items() if name != "power"}


def _moved(table: pa.Table, moved: Callable[[Floats], Floats]) -> pa.Table:
    for at, column in enumerate(table.schema):
        if column.name.endswith("_s") and column.name != "record_cost_s":
            values = table.column(at).to_numpy(zero_copy_only=False)
            table = table.set_column(at, column, pa.array(moved(values), column.type, from_pandas=True))
    return table
