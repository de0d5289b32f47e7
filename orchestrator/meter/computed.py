"""The meter of a simulated engine: its power is computed from what it did, once that is done."""

from collections.abc import Mapping

import pyarrow as pa

from collectors.sources.simulated import power_samples
from orchestrator.meter.meter import Prepared
from orchestrator.records.series import by_engine, power_table
from orchestrator.spec.cell import Cell


class ComputedMeter:
    """Cap and clock are the simulated engine's own business."""

    async def prepare(self, cell: Cell) -> Prepared:
        """Nothing is set."""
        return Prepared()

    async def latest(self) -> Mapping[str, Mapping[str, float]]:
        """Nothing is known before the cell has ended."""
        return {}

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, observed: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """Power of the GPUs of all engines, numbered on from one engine to the next."""
        iterations = observed["iterations"]
        of_engine = by_engine(iterations)
        tables, first_gpu = [], 0
        for name, own in cell.engine_cells.items():
            runs = of_engine.get(name, iterations.slice(0, 0))
            tables.append(_power(own, runs, first_gpu, (0.0, end_s - origin_s)))
            first_gpu += own.engine.tensor_parallel_size
        return {"power": pa.concat_tables(tables)}


def _power(cell: Cell, iterations: pa.Table, first_gpu: int, window: tuple[float, float]) -> pa.Table:
    runs = {name: iterations.column(name).to_numpy() for name in ("start_s", "end_s", "energy_j", "sm_clock_mhz")}
    return power_table(
        power_samples(
            **runs,
            idle_power_w=cell.gpu.idle_power_w,
            n_gpus=cell.engine.tensor_parallel_size,
            first_gpu=first_gpu,
            window=window,
            period_s=cell.collectors.period_s,
        )
    )
