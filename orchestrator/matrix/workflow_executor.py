"""Where the steps of a cell's workflows wait for each other: decided where nobody says, before cells are identified."""

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.errors import UserError
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Settings


def with_executor(cell: Cell, config: Mapping[str, Any]) -> Cell:
    """The cell as its configuration says; where that says nothing, a real engine's workflows are Ray task graphs."""
    said = config["workflow"].get("executor")
    if said is not None or cell.engine.simulated or cell.engine.clock == "virtual":
        return cell
    return cell.model_copy(update={"workflow": cell.workflow.model_copy(update={"executor": "ray"})})


def refuse_ray_inline(cells: Iterable[Cell], settings: Settings) -> None:
    """There is no Ray where cells run in this process.

    Raises:
        UserError: a cell's workflows are Ray task graphs and ``executor`` is inline.
    """
    if settings.executor == "inline" and any(cell.workflow.executor == "ray" for cell in cells):
        raise UserError(
            "executor=inline: workflows on a real engine run on Ray unless told; add workflow.executor=local"
        )
