"""A simulated cell with hidden energies: its series as a sensor would measure them, and the true energies."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import pyarrow as pa

from benchmarks.played_sensor import Sensor, played_power
from orchestrator.costmodel.cost import CostModel, IterationCost
from orchestrator.costmodel.work import Batch
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.measure.columns import Columns, Floats
from orchestrator.records.series import by_engine
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell

_HIDDEN = ("energy_j", "prefill_energy_j", "decode_energy_j", "sm_clock_mhz", "power_capped")
_COEFFICIENTS = ("static_power_w", "memory_power_w", "compute_power_w", "sampling_power_w")
_AFTER_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """A cell, its ``shown`` series for the attribution, and the true energies of each request. Units: J."""

    cell: Cell
    shown: dict[str, pa.Table]
    prefill_j: Floats
    decode_j: Floats


def hidden(
    *overrides: str, sensor: Sensor | None = None, factors: Mapping[str, float] | None = None, strange: bool = False
) -> Hidden:
    """Run a simulated cell and hide its energies.

    Args:
        overrides: overrides of the configuration.
        sensor: the sensor of the GPUs.
        factors: factors on the coefficients of the GPU's power, so that the assumptions of attribution are wrong.
        strange: use a GPU whose energy has another form than attribution assumes (`StrangeCosts`).
    """
    cell = recalibrated(composed(*overrides), factors or {})
    with _strange_gpus() if strange else nullcontext():
        series = run_cell(cell).series
    columns = Columns(series["requests"])
    return Hidden(
        cell=cell,
        shown=shown(cell, series, sensor),
        prefill_j=columns.floats("prefill_energy_j"),
        decode_j=columns.floats("decode_energy_j"),
    )


def composed(*overrides: str) -> Cell:
    """Return a simulated cell that records which requests were scheduled."""
    expansion = compose((*overrides, "engine=simulated", "+engine.record_scheduled=true"))
    assert expansion is not None
    (cell,) = build(expansion)[0].cells
    return cell


def shown(cell: Cell, series: Mapping[str, pa.Table], sensor: Sensor | None = None) -> dict[str, pa.Table]:
    """Return the series of a cell without its energies, and with the power that sensors of its GPUs would measure."""
    iterations = series["iterations"]
    end_s = float(Columns(iterations).floats("end_s").max()) + _AFTER_S
    of_engine = by_engine(iterations)
    tables: list[pa.Table] = []
    n_gpus = 0
    for name, own in cell.engine_cells.items():
        rows = of_engine.get(name, iterations.slice(0, 0))
        size, idle_w = own.engine.tensor_parallel_size, own.gpu.idle_power_w
        tables.append(
            played_power(rows, idle_power_w=idle_w, n_gpus=size, end_s=end_s, sensor=sensor, first_gpu=n_gpus)
        )
        n_gpus += size
    return {name: _without(table) for name, table in series.items()} | {"power": pa.concat_tables(tables)}


def _without(table: pa.Table) -> pa.Table:
    """Return the table with energies, clocks and power capping set to null."""
    for at, field in enumerate(table.schema):
        if field.name in _HIDDEN:
            table = table.set_column(at, field, pa.nulls(table.num_rows, field.type))
    return table


def recalibrated(cell: Cell, factors: Mapping[str, float]) -> Cell:
    """Return the cell on a GPU with other power coefficients; the factor of static power applies above idle power."""
    plain = cell.canonical()
    calibration = plain["hardware"]["calibration"]
    for name, factor in factors.items():
        floor_w = plain["hardware"]["idle_power_w"] if name == "static_power_w" else 0.0
        calibration[name] = floor_w + factor * (calibration[name] - floor_w)
    return Cell.model_validate(plain)


def drawn_factors(seed: int, most: float = 1.6) -> dict[str, float]:
    """Draw a factor for each power coefficient, between 1 / ``most`` and ``most``."""
    draw = np.random.default_rng(seed)
    return {name: float(most ** draw.uniform(-1, 1)) for name in _COEFFICIENTS}


class StrangeCosts(CostModel):
    """Costs of another form: 1.4 times per byte of keys and values, twice for attention, more for small batches."""

    def modelled_at(self, batch: Batch, mhz: int, *, capped: bool) -> IterationCost:
        """Return the simulator's cost, changed."""
        cost = super().modelled_at(batch, mhz, capped=capped)
        few = 1 + 0.33 / (1 + batch.n_tokens / 512)
        return replace(cost, context_j=1.4 * cost.context_j, pair_j=2 * cost.pair_j, token_j=few * cost.token_j)


@contextmanager
def _strange_gpus() -> Iterator[None]:
    with mock.patch("orchestrator.engines.simulated.engine.CostModel", StrangeCosts):
        yield
