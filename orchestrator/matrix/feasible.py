"""Which cells fit no node, by their own figures."""

from collections.abc import Iterable

from orchestrator import plugins
from orchestrator.cell import Cell
from orchestrator.errors import InfeasibleCell


def infeasible_cells(cells: Iterable[Cell]) -> dict[str, str]:
    """The cause for each cell that its engine refuses before it starts, by cell id."""
    causes = {}
    for cell in cells:
        try:
            check = plugins.part("orchestrator.engines", cell.engine.kind, "check")
            with plugins.blamed(cell.engine.kind):
                check(cell)
        except InfeasibleCell as error:
            causes[cell.cell_id] = str(error)
    return causes
