"""Sweeps as if measured: cells run on a GPU whose coefficients are known, with noise, its energies hidden."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa

from benchmarks.attribution_truth import StrangeCosts, shown
from benchmarks.h200.fit_error import simulated_twin
from benchmarks.played_sensor import Sensor
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
"""Of the truth over the preset."""
_STATIC_W, _IDLE_W = 160.0, 100.0

_BASE = ("engine=vllm", "hardware=h200_sxm", "model=llama3_1_8b", "collectors=nvml", "collectors.cpu_power=none")
_KEPT = ("iterations", "power", "requests", "steps", "scheduled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """How a GPU differs from what is believed of it, and how it is seen.

    ``factors`` are of its coefficients, ``noise_ratio`` is by how much an iteration is longer or shorter, ``strange``
    gives it costs of another form (`StrangeCosts`), ``power_limit_w`` a limit that slows heavy batches and of which
    the records say nothing. ``keep`` are the series that are kept.
    """

    factors: Mapping[str, float] = field(default_factory=lambda: FACTORS)
    noise_ratio: float = 0.03
    sensor: Sensor = field(default_factory=Sensor)
    strange: bool = False
    power_limit_w: float | None = None
    keep: Sequence[str] = _KEPT


def planned(*overrides: str) -> tuple[Cell, ...]:
    """Cells of a real engine on an H200."""
    expansion = compose((*_BASE, *overrides))
    assert expansion is not None
    return build(expansion)[0].cells


def true_gpu(cell: Cell, truth: Truth) -> HardwareSpec:
    """The GPU of a cell as it really is."""
    plain = cell.gpu.model_dump()
    for name, factor in truth.factors.items():
        plain["calibration"][name] *= factor
    plain["calibration"]["static_power_w"] = _STATIC_W
    return HardwareSpec.model_validate({**plain, "idle_power_w": _IDLE_W, "power_limit_w": truth.power_limit_w})


def measured_sweep(folder: Path, cells: Sequence[Cell], truth: Truth, invalid: Mapping[int, str] | None = None) -> Path:
    """The folder of a sweep of these cells on the true GPU; those in ``invalid`` are so for the reasons there."""
    matrix = Matrix(name="truth", cells=tuple(cells), overrides=(), swept=("engine.max_num_seqs",), notes=())
    store = SweepStore.create(folder, matrix, Settings(), {})
    for index, cell in enumerate(cells):
        series = _series(cell, truth, seed=index)
        why = (invalid or {}).get(index)
        record = CellRecord(
            cell_id=cell.cell_id,
            engine_key=cell.engine_key,
            status="ok" if why is None else "invalid",
            simulated=False,
            reasons=() if why is None else (Reason(code=why, detail="", transient=False),),
            cell=cell.canonical(),
            provenance={"vllm": "0.0.0"},
            metrics=summarise(cell, series).metrics,
            attempts=(Attempt(number=1, started_unix_s=index, ended_unix_s=index + 1, host="h", outcome="ok"),),
        )
        store.write(record, {name: table for name, table in series.items() if name in truth.keep})
    return store.paths.root


def _series(cell: Cell, truth: Truth, *, seed: int) -> dict[str, pa.Table]:
    """What a sampler and the records of iterations show of a cell on the true GPU."""
    twin = simulated_twin(cell, true_gpu(cell, truth), stepping="step_by_step", record_scheduled=True)
    with _costs(truth):
        series = run_cell(twin).series
    return shown(twin, _jittered(series, truth.noise_ratio, np.random.default_rng(seed)), truth.sensor)


@contextmanager
def _costs(truth: Truth) -> Iterator[None]:
    strange = mock.patch("orchestrator.engines.simulated.engine.CostModel", StrangeCosts)
    with strange if truth.strange else nullcontext():
        yield


def _jittered(series: Mapping[str, pa.Table], noise_ratio: float, draw: np.random.Generator) -> dict[str, pa.Table]:
    """Every iteration longer or shorter, all times of the cell moved with it."""
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
