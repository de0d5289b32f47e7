"""Which cells fit no node, by their own figures."""

from collections.abc import Iterable

from orchestrator import plugins
from orchestrator.errors import InfeasibleCell
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import MAIN


def infeasible_cells(cells: Iterable[Cell]) -> dict[str, str]:
    """The cause for each cell that one of its engines refuses before it starts, by cell id."""
    causes = {}
    for cell in cells:
        try:
            _check(cell)
        except InfeasibleCell as error:
            causes[cell.cell_id] = str(error)
    return causes


def _check(cell: Cell) -> None:
    for name, own in cell.engine_cells.items():
        check = plugins.part("orchestrator.engines", own.engine.kind, "check")
        try:
            with plugins.blamed(own.engine.kind):
                check(own)
        except InfeasibleCell as error:
            raise error if name == MAIN else InfeasibleCell(f"engine of {name}: {error}") from error
    if cell.engine_of_role:
        _check_together(cell)


def _check_together(cell: Cell) -> None:
    """Engines of a cell share the GPUs of one node, none of them the same one."""
    engines = {name: own.engine for name, own in cell.engine_cells.items()}
    if cell.hardware.num_gpus and sum(engine.uses_gpus for engine in engines.values()) > 1:
        raise InfeasibleCell(
            "roles: several engines of a cell on the GPUs of a node are not placed yet; "
            "a server of each model and engine=openai can do it"
        )
    needed = {
        name: engine.tensor_parallel_size for name, engine in engines.items() if engine.simulated or engine.uses_gpus
    }
    if cell.hardware.num_gpus and sum(needed.values()) > cell.hardware.num_gpus:
        told = " + ".join(f"{n_gpus} ({name})" for name, n_gpus in needed.items())
        raise InfeasibleCell(
            f"the engines need {told} GPUs on one node; {cell.hardware.name} nodes have {cell.hardware.num_gpus}"
        )
