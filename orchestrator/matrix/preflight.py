"""What can be known to fail before a sweep begins, by asking the surroundings rather than the cells."""

from collections.abc import Iterable

from orchestrator import plugins
from orchestrator.cell import Cell


def preflight(cells: Iterable[Cell]) -> None:
    """Let every engine that wants to look around do so, once for each of its keys.

    Raises:
        EnvironmentFailure: one of them could not be used.
    """
    for cell in {cell.engine_key: cell for cell in cells}.values():
        for own in cell.engine_cells.values():
            look = getattr(plugins.load("orchestrator.engines", own.engine.kind), "preflight", None)
            if look is not None:
                with plugins.blamed(own.engine.kind):
                    look(own)
