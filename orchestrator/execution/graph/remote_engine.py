"""An engine in an actor of its own, as a cell sees it."""

from typing import Any

import pyarrow as pa

from orchestrator.execution.graph.answer import answer
from orchestrator.spec.cell import Cell

ENGINE = "the engine's actor"
"""What messages call it."""


class RemoteEngine:
    """A loaded engine whose actor starts, watches and closes it; errors are those of the engine itself."""

    def __init__(self, actor: Any) -> None:
        """``actor`` is of the engine (`orchestrator.execution.lanes.engine_actor`)."""
        self._actor = actor

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """Forget the cell before."""
        await answer(self._actor.begin.remote(cell, origin_s), ENGINE)

    async def series(self) -> dict[str, pa.Table]:
        """What the engine recorded."""
        found: dict[str, pa.Table] = await answer(self._actor.series.remote(), ENGINE)
        return found
