"""What a cell asks of an engine: the contract of every file in `orchestrator.engines`.

An engine file named ``<kind>.py`` holds ``class Options(EngineOptions)``,
``def check(cell: Cell) -> None`` (raises `InfeasibleCell` from the cell's own figures, before anything starts) and
``def build(cell: Cell, clock: Clock) -> Engine``. It may hold ``def preflight(cell: Cell) -> None``, which raises
`EnvironmentFailure` where nothing would run anyway, once an engine before a sweep begins: a server that is not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from workflows.request import Completion, Request

if TYPE_CHECKING:
    from orchestrator.spec.cell import Cell


_PACE_S_PER_TOKEN = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStart:
    """What an engine says of itself once it is loaded.

    ``provenance`` holds what a result depends on (versions, revision, backend); ``devices`` are the UUIDs of its GPUs,
    ``pids`` the processes it started, on its own host.
    """

    provenance: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()


class LoadedEngine(Protocol):
    """What a cell asks of an engine beside its requests, wherever the engine is."""

    async def begin(self, cell: "Cell", origin_s: float) -> None:
        """Forget the cell before: prefix cache, series. Nothing is in flight; times count from ``origin_s``.

        Raises:
            InfrastructureError: the engine cannot be brought back to its first state.
        """
        ...

    async def series(self) -> dict[str, pa.Table]:
        """What the engine itself recorded since `begin`: ``iterations``, ``scheduled``, or nothing at all.

        The schemas are those of `orchestrator.records.series`.
        """
        ...


class Engine(LoadedEngine, Protocol):
    """A model that answers requests: started once, then begun anew for every cell of its ``engine_key``."""

    async def start(self) -> EngineStart:
        """Load the model and warm it up; called once, before anything else.

        Raises:
            CellError: what the cell asks for is refused (an argument, a checkpoint, too little memory).
            InfrastructureError: the engine was lost or did not start for a reason a repetition may mend.
        """
        ...

    async def generate(self, request: Request) -> Completion:
        """Answer one request; many may be in flight.

        Raises:
            CellError: the engine refuses the request (longer than the context, say).
            InfrastructureError: the engine was lost.
        """
        ...

    def progress(self) -> int:
        """A number that changes whenever a token arrives: it tells a slow engine from one that has stalled."""
        ...

    def trouble(self) -> str | None:
        """Why the engine can go no further, seen from outside (a process that died or is stopped); None if it can."""
        ...

    async def close(self) -> None:
        """Give everything back; nothing is in flight any more. Also after a `start` that failed."""
        ...


def due_s(request: Request) -> float:
    """When a request is due, on the clock of the cell: the earliest is the most urgent."""
    return request.workflow_started_s + _PACE_S_PER_TOKEN * request.remaining_tokens
