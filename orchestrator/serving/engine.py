"""Engine contract: what every plug-in in `orchestrator.engines` provides.

The module ``<kind>`` holds:

- ``class Options(EngineOptions)``,
- ``def check(cell: Cell) -> None``: raise `InfeasibleCell` from the cell's own values, before anything starts,
- ``def build(cell: Cell, clock: Clock) -> Engine``,
- optionally ``def preflight(cell: Cell) -> None``: called once per engine key before a sweep begins; raise
  `EnvironmentFailure` if nothing could run, for example if a server does not answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from workflows.request import Completion, Request

if TYPE_CHECKING:
    from orchestrator.spec.cell import Cell


_PACE_S_PER_TOKEN = 0.05  # assumed time per remaining token, for the urgency of a request


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStart:
    """Facts about a loaded engine.

    ``provenance`` holds what a result depends on (versions, revision, backend), ``devices`` the UUIDs of its GPUs, and
    ``pids`` the processes that it started on its host.
    """

    provenance: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()


class LoadedEngine(Protocol):
    """A loaded engine apart from its requests, in this process or another one."""

    async def begin(self, cell: "Cell", origin_s: float) -> None:
        """Drop the prefix cache and the series of the previous cell; no request is in flight.

        Times of the series count from ``origin_s``.

        Raises:
            InfrastructureError: the engine cannot be reset.
        """
        ...

    async def series(self) -> dict[str, pa.Table]:
        """Return the series that the engine recorded since `begin`: ``iterations``, ``scheduled``, or none.

        Their schemas are in `orchestrator.records.series`.
        """
        ...


class Engine(LoadedEngine, Protocol):
    """A model that answers requests: started once, then reset by `begin` for every cell of its ``engine_key``."""

    async def start(self) -> EngineStart:
        """Load the model and warm it up; called once, before any other method.

        Raises:
            CellError: an option of the cell cannot be used (an argument, a checkpoint, too little memory).
            InfrastructureError: the engine was lost, or a second attempt may succeed.
        """
        ...

    async def generate(self, request: Request) -> Completion:
        """Answer one request; many may be in flight.

        Raises:
            CellError: the engine refuses the request, for example if it is longer than the context.
            InfrastructureError: the engine was lost.
        """
        ...

    def progress(self) -> int:
        """Return a number that changes with every token, so that a slow engine is not taken for a stalled one."""
        ...

    def trouble(self) -> str | None:
        """Return why the engine cannot continue (a process that died or is stopped); None if it can."""
        ...

    async def close(self) -> None:
        """Release everything; no request is in flight. Also called after a failed `start`."""
        ...


def due_s(request: Request) -> float:
    """Return when a request is due, on the clock of the cell (s); the earliest one is the most urgent."""
    return request.workflow_started_s + _PACE_S_PER_TOKEN * request.remaining_tokens
