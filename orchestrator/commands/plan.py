"""``plan``: show cells, engine starts, predicted time and energy, and cells that cannot run; run and write nothing."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from orchestrator.cli import CommandResult
from orchestrator.costmodel.estimate import NOTHING, Estimate, estimates
from orchestrator.matrix.matrix import least_cells
from orchestrator.matrix.validate import infeasible_cells
from orchestrator.records.text_format import duration, energy
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Matrix, Settings
from orchestrator.sweep.order import Order, engine_starts, ordered


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The cost of a matrix. ``infeasible`` maps cell ids to reasons, ``engine_starts`` orders to counts.

    ``n_unpredicted`` cells run on hardware without calibration and are not in ``total``; ``least_cells`` cells run even
    if the stop rule is met as early as possible.
    """

    matrix: Matrix
    infeasible: dict[str, str]
    engine_starts: dict[Order, int]
    total: Estimate
    n_unpredicted: int
    least_cells: int


def run(matrix: Matrix, settings: Settings) -> CommandResult:
    """Print the plan of a matrix as a table."""
    plan = plan_of(matrix, settings)
    _show(Console(highlight=False, soft_wrap=True), plan, settings.order)
    return CommandResult(0, _fields(plan))


def plan_of(matrix: Matrix, settings: Settings) -> Plan:
    """Return the plan; infeasible cells count neither in the engine starts nor in the predictions."""
    infeasible = infeasible_cells(matrix.cells)
    feasible = [cell for cell in matrix.cells if cell.cell_id not in infeasible]
    predictions = estimates(feasible)
    return Plan(
        matrix=matrix,
        infeasible=infeasible,
        engine_starts={order: engine_starts(ordered(feasible, order)) for order in get_args(Order)},
        total=reduce(Estimate.__add__, filter(None, predictions), NOTHING),
        n_unpredicted=predictions.count(None),
        least_cells=least_cells(matrix.cells, settings.stop_when),
    )


def _fields(plan: Plan) -> dict[str, Any]:
    finite = math.isfinite(plan.total.time_s + plan.total.energy_j)
    unknown = not finite or (plan.n_unpredicted > 0 and plan.total == NOTHING)
    return {
        "sweep": plan.matrix.name,
        "cells": len(plan.matrix.cells),
        "least_cells": plan.least_cells,
        "infeasible": len(plan.infeasible),
        "engine_starts": plan.engine_starts,
        "predicted_time_s": None if unknown else round(plan.total.time_s, 1),
        "predicted_energy_j": None if unknown else round(plan.total.energy_j, 1),
        "unpredicted": plan.n_unpredicted,
        "simulated": all(_simulated(cell) for cell in plan.matrix.cells),
    }


def _simulated(cell: Cell) -> bool:
    """Return whether the cell runs on a simulated engine; a plug-in in virtual time counts as one."""
    return cell.engine.kind == "simulated" or cell.engine.clock == "virtual"


def _show(console: Console, plan: Plan, order: Order) -> None:
    for note in plan.matrix.notes:
        console.print(f"note: {note}", markup=False)
    console.print(_table(plan, order))
    console.print("Predictions are closed-form estimates without engine starts and warm-up; they are no results.")
    for cell_id, reason in plan.infeasible.items():
        console.print(f"infeasible {cell_id}: {reason}", markup=False)


def _table(plan: Plan, order: Order) -> Table:
    cells, total = plan.matrix.cells, plan.total
    table = Table(title=f"plan of {plan.matrix.name}", title_justify="left", show_header=False)
    for key in plan.matrix.swept:
        table.add_row(key, ", ".join(_levels(cells, key)))
    least = f" at most and {plan.least_cells} at least" if plan.least_cells < len(cells) else ""
    table.add_row("cells", f"{len(cells)}{least}, {len(plan.infeasible)} of them infeasible")
    table.add_row("engine starts", ", ".join(f"{starts} {name}" for name, starts in plan.engine_starts.items()))
    table.add_row("order", order)
    if plan.n_unpredicted:
        table.add_row("not predicted", f"{plan.n_unpredicted} cells, on hardware without figures")
    if plan.total != NOTHING:
        table.add_row("predicted time", f"{duration(total.time_s)} on the GPUs, one cell after the other")
        table.add_row("predicted energy", energy(total.energy_j))
    return table


def _levels(cells: Sequence[Cell], key: str) -> Iterator[str]:
    values = (_value(cell.model_dump(mode="json"), key) for cell in cells)
    return (str(value) for value in dict.fromkeys(values))


def _value(plain: Any, key: str) -> Any:
    for step in key.split("."):
        plain = plain.get(step) if isinstance(plain, dict) else None
    return f"{plain:g}" if isinstance(plain, float) else plain if plain is not None else "default"
