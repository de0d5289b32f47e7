"""The whole Azure 2023 conversation trace through the simulated engine: requests a second, closed form and stepwise."""

import time
from dataclasses import dataclass

from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.runner.local import run_cell

STEPPINGS = ("closed_form", "step_by_step")


@dataclass(frozen=True, slots=True)
class Replay:
    """One replay: requests, iterations of the scheduler, and the time of the cell, engine to summary."""

    stepping: str
    n_requests: int
    n_iterations: int
    wall_s: float
    cpu_s: float


def replay(stepping: str, *changes: str) -> Replay:
    """Run the cell ``workflow=trace_replay load=replay`` once."""
    expansion = compose(("workflow=trace_replay", "load=replay", f"+engine.stepping={stepping}", *changes))
    assert expansion is not None
    [cell] = build(expansion)[0].cells
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    result = run_cell(cell)
    wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    n_iterations = sum(result.series["iterations"].column("n_iterations").to_pylist())
    return Replay(stepping, len(result.series["requests"]), n_iterations, wall_s, cpu_s)
