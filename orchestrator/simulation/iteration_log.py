"""What the simulated scheduler did, as the series of iterations."""

from typing import Any

import pyarrow as pa

from orchestrator.records.series import ITERATIONS
from orchestrator.simulation.kv_cache import KvCache
from orchestrator.simulation.run import Run


class IterationLog:
    """One row a run, times from ``origin_s`` on."""

    def __init__(self, cache: KvCache, origin_s: float) -> None:
        self._cache = cache
        self._origin_s = origin_s
        self._rows: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, run: Run, n_continued: int) -> None:
        """Note a run that is complete; the cache is as its last iteration filled it, nothing freed yet."""
        step = run.step
        self._rows.append(
            (
                run.start_s - self._origin_s,
                run.end_s - self._origin_s,
                run.n_iterations,
                run.n_scheduled,
                step.n_waiting,
                sum(chunk.n_tokens for chunk in step.chunks),
                run.n_sampled * run.n_iterations,
                n_continued,
                1 - self._cache.n_free / self._cache.n_blocks,
                float(run.cost.sm_clock_mhz),
                run.cost.power_capped,
                run.energy_j,
                run.prefill_energy_j,
                run.decode_energy_j,
                None,
            )
        )

    def table(self) -> pa.Table:
        """The rows so far, in `orchestrator.records.series.ITERATIONS`."""
        columns = list(zip(*self._rows, strict=True)) or [()] * len(ITERATIONS)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, ITERATIONS, strict=True)]
        return pa.Table.from_arrays(arrays, schema=ITERATIONS)
