"""Cells for analyses, without a store: a batch and a cap in some workflow, and whatever was measured."""

import math
import random
from typing import Any

from orchestrator.analysis.pairs import Measured
from orchestrator.records.record import Status


def a_measured(
    metrics: dict[str, float] | None = None, *, status: Status = "ok", simulated: bool = True, **config: Any
) -> Measured:
    """A chat cell; ``config`` names keys with two underscores for a dot."""
    plain = {"workflow.kind": "chat", "engine.max_num_seqs": 8, "hardware.name": "gpu", "seed": 0, "repeat": 0}
    plain |= {key.replace("__", "."): value for key, value in config.items()}
    return Measured(
        cell_id=repr(sorted(plain.items())), status=status, simulated=simulated, config=plain, metrics=metrics or {}
    )


def a_noisy_sweep(
    name: str, noise: random.Random, *, shift: dict[tuple[str, str], float] | None = None, n_cells: int = 200
) -> list[Measured]:
    """``n_cells`` cells over four workflows whose metrics scatter by 2 %; ``shift`` scales (workflow, metric)."""
    metrics = ("gpu_energy_j_per_workflow", "median_workflow_ms", "p99_ttft_ms", "output_throughput")
    workflows = ("chat", "copilot", "chain_summary", "composite")
    cells = []
    for i in range(n_cells):
        kind, level = workflows[i % 4], i // 4
        values = {
            metric: (level + 1) * math.exp(noise.gauss(0, 0.02)) * (shift or {}).get((kind, metric), 1.0)
            for metric in metrics
        }
        cells.append(a_measured(values, workflow__kind=kind, engine__max_num_seqs=level, hardware__name=name))
    return cells
