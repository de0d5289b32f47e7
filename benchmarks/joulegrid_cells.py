"""``python -m benchmarks.joulegrid_cells N WORKERS [mlflow]``: trivial cells with Ray executor, driver and store.

A cell has ended when its record is durable; with ``mlflow``, the last one when MLflow has all of them.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rate import Rate, print_rate, rate_of
from orchestrator.lanes.executor import RayExecutor
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.records import provenance
from orchestrator.records.record import CellRecord, CellResult
from orchestrator.spec.cell import Cell
from orchestrator.store.sweep import SweepStore
from orchestrator.sweep.driver import run_cells
from orchestrator.tracking.logger import Logger


def trivial(cell: Cell) -> CellResult:
    """Square a number."""
    return CellResult(
        status="ok",
        simulated=True,
        reasons=(),
        window={},
        phases=(),
        provenance={},
        metrics={"score": float(cell.repeat) ** 2},
        series={},
    )


def measure(n_cells: int, n_workers: int, folder: Path, *, tracking: bool) -> Rate:
    """Run ``n_cells`` trivial cells into a sweep below ``folder``."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    expansion = compose(("-m", f"repeat=range(0,{n_cells})", f"cluster.num_workers={n_workers}", f"tracking.uri={uri}"))
    assert expansion is not None
    matrix, settings = build(expansion)
    ends_s: list[float] = []
    start_s = time.monotonic()
    executor = RayExecutor(settings.cluster, trivial)
    executor.start()
    store = SweepStore.create(folder, matrix, settings, provenance.collect())
    logger = Logger(store, settings.tracking, warn=sys.stderr.write) if tracking else None

    def on_record(record: CellRecord) -> None:
        ends_s.append(time.monotonic())
        if logger is not None:
            logger.submit(record.cell_id)

    with store.lock():
        run_cells(matrix.cells, executor, store, settings, on_record=on_record)
        executor.close()
        if logger is not None:
            assert logger.close().left == 0
            ends_s[-1] = time.monotonic()
    return rate_of(ends_s, start_s, time.monotonic())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        print_rate(measure(int(sys.argv[1]), int(sys.argv[2]), Path(scratch), tracking="mlflow" in sys.argv[3:]))
