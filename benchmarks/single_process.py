"""Costs within one process: composing a matrix, and replaying a trace through the simulated engine."""

import time
from dataclasses import dataclass

import hydra

from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.runner.local import run_cell

STEPPINGS = ("closed_form", "step_by_step")


@dataclass(frozen=True, slots=True)
class ComposeCost:
    """CPU milliseconds per cell of the shipped sweep ``batch_powercap``, the start of Hydra included."""

    n_cells: int
    expanded_ms: float
    validated_ms: float
    hydra_ms: float


def compose_cost(n_hydra: int = 24) -> ComposeCost:
    """Expand the sweep once, then compose ``n_hydra`` of its cells one by one, as Hydra's own sweeper does."""
    start_s = time.process_time()
    expansion = compose(("+sweep=batch_powercap",))
    assert expansion is not None
    expanded_s = time.process_time() - start_s
    n_cells = len(build(expansion)[0].cells)
    validated_s = time.process_time() - start_s
    with hydra.initialize_config_module("conf", version_base="1.3"):
        start_s = time.process_time()
        for number in range(n_hydra):
            seqs, cap = 2 ** (number % 5), 40 + 10 * (number % 6)
            hydra.compose(
                "config", ["workflow=copilot", f"engine.max_num_seqs={seqs}", f"hardware.power_limit_w={cap}%"]
            )
        hydra_s = time.process_time() - start_s
    return ComposeCost(n_cells, 1e3 * expanded_s / n_cells, 1e3 * validated_s / n_cells, 1e3 * hydra_s / n_hydra)


@dataclass(frozen=True, slots=True)
class Replay:
    """One replay: requests, iterations of the scheduler, and the time of the cell from engine to summary."""

    stepping: str
    n_requests: int
    n_iterations: int
    wall_s: float
    cpu_s: float


def replay(stepping: str, *changes: str) -> Replay:
    """Replay the whole Azure 2023 conversation trace once; ``changes`` are further overrides."""
    expansion = compose(("workflow=trace_replay", "load=replay", f"+engine.stepping={stepping}", *changes))
    assert expansion is not None
    [cell] = build(expansion)[0].cells
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    result = run_cell(cell)
    wall_s, cpu_s = time.monotonic() - start_s, time.process_time() - start_cpu_s
    n_iterations = sum(result.series["iterations"].column("n_iterations").to_pylist())
    return Replay(stepping, len(result.series["requests"]), n_iterations, wall_s, cpu_s)
