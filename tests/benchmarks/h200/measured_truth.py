"""Sweeps as if measured: cells run on a GPU whose coefficients are known, with noise, its energies hidden."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa

from benchmarks.attribution_truth import StrangeCosts, shown
from benchmarks.h200.fit_error import simulated_twin
from benchmarks.played_sensor import Sensor
from orchestrator.cell import Cell
from orchestrator.hardware_spec import HardwareSpec
from orchestrator.matrix.build import build
from orchestrator.matrix.compose import compose
from orchestrator.measure.columns import Floats
from orchestrator.measure.summary import summarise
from orchestrator.record import Attempt, CellRecord, Reason
from orchestrator.run_cell import run_cell
from orchestrator.settings import Matrix, Settings
from orchestrator.store.sweep import SweepStore

TIMES = {
    "weight_bandwidth_efficiency": 0.88,
    "flop_efficiency": 0.78,
    "kv_bandwidth_efficiency": 0.85,
    "layer_overhead_s": 1.25,
    "prefill_overhead_s": 0.8,
    "sequence_overhead_s": 1.2,
}
POWERS = {"memory_power_w": 0.85, "compute_power_w": 0.8, "sampling_power_w": 0.8}
"""Factors of the truth over the preset."""

BASE = ("engine=vllm", "hardware=h200_sxm", "model=llama3_1_8b", "collectors=nvml", "collectors.cpu_power=none")
SHORT = ("protocol.warmup_s=0", "protocol.max_repetitions=1", "protocol.min_window_s=1")


def closed(batch: int, workflow: str = "chat", *more: str, workflows: int | None = None) -> tuple[str, ...]:
    n = workflows if workflows is not None else max(16, 3 * batch)
    load = ("load=closed", f"load.users={batch}", f"load.num_workflows={n}", f"engine.max_num_seqs={batch}")
    return (f"workflow={workflow}", *load, *more)


def cell_of(*overrides: str) -> Cell:
    expansion = compose((*BASE, *SHORT, *overrides))
    assert expansion is not None
    (cell,) = build(expansion)[0].cells
    return cell


def truth_of(cell: Cell, factors: Mapping[str, float], *, static_w: float = 160, idle_w: float = 100) -> HardwareSpec:
    """The GPU of a cell, changed."""
    plain = cell.gpu.model_dump()
    calibration = plain["calibration"]
    for name, factor in factors.items():
        calibration[name] *= factor
    calibration["static_power_w"] = static_w
    return HardwareSpec.model_validate({**plain, "idle_power_w": idle_w})


def measured_sweep(
    folder: Path,
    cells: Sequence[Cell],
    truth: HardwareSpec,
    *,
    noise: float = 0.03,
    strange: bool = False,
    keep: Sequence[str] = ("iterations", "power", "requests", "steps", "scheduled"),
    reasons: Mapping[int, str] | None = None,
) -> Path:
    """A sweep of these cells on the GPU ``truth``; those in ``reasons`` are invalid for them."""
    matrix = Matrix(name="truth", cells=tuple(cells), overrides=(), swept=("engine.max_num_seqs",), notes=())
    store = SweepStore.create(folder, matrix, Settings(), {})
    for index, cell in enumerate(cells):
        series = _series(cell, truth, seed=index, noise=noise, strange=strange)
        why = (reasons or {}).get(index)
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
        store.write(record, {name: table for name, table in series.items() if name in keep})
    return store.paths.root


def _series(cell: Cell, truth: HardwareSpec, *, seed: int, noise: float, strange: bool) -> dict[str, pa.Table]:
    twin = simulated_twin(cell, truth, stepping="step_by_step", record_scheduled=True)
    changed = mock.patch("orchestrator.engines.simulated.CostModel", StrangeCosts) if strange else nullcontext()
    with changed:
        series = dict(run_cell(twin).series)
    series = _jittered(series, noise, np.random.default_rng(seed))
    return shown(twin, series, Sensor(seed=seed, counter="exact"))


def _jittered(series: dict[str, pa.Table], noise: float, draw: np.random.Generator) -> dict[str, pa.Table]:
    """Every iteration longer or shorter by ``noise``, all times of the cell moved with it."""
    start_s, end_s = (series["iterations"].column(name).to_numpy() for name in ("start_s", "end_s"))
    edges_s = np.concatenate([[0.0], np.stack([start_s, end_s], axis=1).ravel()])
    lengths_s = np.diff(edges_s)
    lengths_s[1::2] *= 1 + noise * draw.standard_normal(len(end_s))
    moved_s = np.concatenate([[0.0], np.cumsum(lengths_s)])

    def moved(times_s: Floats) -> Floats:
        return np.where(
            times_s <= edges_s[-1], np.interp(times_s, edges_s, moved_s), times_s + moved_s[-1] - edges_s[-1]
        )

    return {name: _moved(table, moved) for name, table in series.items() if name != "power"}


def _moved(table: pa.Table, moved) -> pa.Table:
    for at, field in enumerate(table.schema):
        if field.name.endswith("_s") and field.name != "record_cost_s":
            values = table.column(at).to_numpy(zero_copy_only=False)
            table = table.set_column(at, field, pa.array(moved(values), field.type, from_pandas=True))
    return table
