"""What a cell of a matrix costs before it runs: our expansion, with validation and without, and Hydra's own compose."""

import time
from dataclasses import dataclass

import hydra

from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build


@dataclass(frozen=True, slots=True)
class ComposeCost:
    """CPU milliseconds a cell of the shipped sweep batch_powercap, the start of Hydra and all groups included."""

    n_cells: int
    expanded_ms: float
    validated_ms: float
    hydra_ms: float


def compose_cost(n_hydra: int = 24) -> ComposeCost:
    """Expand the sweep once, then compose ``n_hydra`` of its cells as Hydra's own sweeper does: one by one."""
    began_s = time.process_time()
    expansion = compose(("+sweep=batch_powercap",))
    assert expansion is not None
    expanded_s = time.process_time() - began_s
    n_cells = len(build(expansion)[0].cells)
    validated_s = time.process_time() - began_s
    with hydra.initialize_config_module("conf", version_base="1.3"):
        began_s = time.process_time()
        for number in range(n_hydra):
            seqs, cap = 2 ** (number % 5), 40 + 10 * (number % 6)
            hydra.compose(
                "config", ["workflow=copilot", f"engine.max_num_seqs={seqs}", f"hardware.power_limit_w={cap}%"]
            )
        hydra_s = time.process_time() - began_s
    return ComposeCost(n_cells, 1e3 * expanded_s / n_cells, 1e3 * validated_s / n_cells, 1e3 * hydra_s / n_hydra)
