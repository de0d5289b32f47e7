"""``plan``: the matrix, what it would take, and what cannot run; nothing is run or written."""

import json
import sys
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator.cell import Cell
from orchestrator.matrix.estimate import NOTHING, Estimate, estimates
from orchestrator.matrix.feasible import infeasible_cells
from orchestrator.matrix.order import engine_starts, ordered
from orchestrator.settings import Matrix, Settings

_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3_600, 60
_KWH_J = 3.6e6


def run(matrix: Matrix, settings: Settings) -> int:
    """Print the plan of a matrix as a table, then as one JSON line."""
    infeasible = infeasible_cells(matrix.cells)
    feasible = [cell for cell in matrix.cells if cell.cell_id not in infeasible]
    total = reduce(Estimate.__add__, estimates(feasible), NOTHING)
    starts = {
        "shuffled": engine_starts(ordered(feasible, "shuffled")),
        "fewest_starts": engine_starts(ordered(feasible, "fewest_starts")),
    }
    _show(Console(highlight=False, soft_wrap=True), matrix, settings, infeasible, total, starts)
    summary = {
        "command": "plan",
        "sweep": matrix.name,
        "cells": len(matrix.cells),
        "infeasible": len(infeasible),
        "engine_starts": starts,
        "predicted_time_s": round(total.time_s, 1),
        "predicted_energy_j": round(total.energy_j, 1),
        "simulated": all(_simulated(cell) for cell in matrix.cells),
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return 0


def _simulated(cell: Cell) -> bool:
    """The virtual clock is for engines of which nothing is real; the shipped one may be paced on the wall clock."""
    return cell.engine.kind == "simulated" or cell.engine.clock == "virtual"


def _show(
    console: Console,
    matrix: Matrix,
    settings: Settings,
    infeasible: dict[str, str],
    total: Estimate,
    starts: dict[str, int],
) -> None:
    for note in matrix.notes:
        console.print(f"note: {note}", markup=False)
    table = Table(title=f"plan of {matrix.name}", title_justify="left", show_header=False)
    for key in matrix.swept:
        table.add_row(key, ", ".join(_levels(matrix.cells, key)))
    table.add_row("cells", f"{len(matrix.cells)}, {len(infeasible)} of them infeasible")
    table.add_row("engine starts", f"{starts['shuffled']} shuffled, {starts['fewest_starts']} with fewest_starts")
    table.add_row("order", settings.order)
    table.add_row("predicted time", f"{_duration(total.time_s)} on the GPUs, one cell after the other")
    table.add_row("predicted energy", f"{total.energy_j / 1e3:,.1f} kJ ({total.energy_j / _KWH_J:,.3f} kWh)")
    console.print(table)
    console.print("Predictions are closed-form estimates without engine starts; they are no results.")
    for cell_id, cause in infeasible.items():
        console.print(f"infeasible {cell_id}: {cause}", markup=False)


def _levels(cells: Sequence[Cell], key: str) -> Iterator[str]:
    values = (_value(cell.model_dump(mode="json"), key) for cell in cells)
    return (str(value) for value in dict.fromkeys(values))


def _value(plain: Any, key: str) -> Any:
    for step in key.split("."):
        plain = plain.get(step) if isinstance(plain, dict) else None
    return f"{plain:g}" if isinstance(plain, float) else plain if plain is not None else "default"


def _duration(seconds: float) -> str:
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds / _HOUR_S:.1f} h"
    return f"{seconds / _DAY_S:.1f} days"
