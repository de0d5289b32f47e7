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
        look = getattr(plugins.load("orchestrator.engines", cell.engine.kind), "preflight", None)
        if look is not None:
            with plugins.blamed(cell.engine.kind):
                look(cell)
