"""The engines of a cell as one: a request goes to the engine of its role."""

import asyncio
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator import plugins
from orchestrator.records.series import ENGINE_COLUMN
from orchestrator.serving.engine import Engine, EngineStart
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import MAIN
from workflows.clock import Clock
from workflows.request import Completion, Request


def engine_of(cell: Cell, clock: Clock) -> Engine:
    """What answers the requests of a cell, not started: an engine, or several as one."""
    engines = {name: _built(own, clock) for name, own in cell.engine_cells.items()}
    return engines[MAIN] if len(engines) == 1 else EngineGroup(engines, cell.engine_of_role)


def _built(cell: Cell, clock: Clock) -> Engine:
    engine: Engine = plugins.part("orchestrator.engines", cell.engine.kind, "build")(cell, clock)
    return engine


class EngineGroup:
    """Several engines behind the contract of one; errors are those of the engine concerned."""

    def __init__(self, engines: Mapping[str, Engine], engine_of_role: Mapping[str, str]) -> None:
        """Engines by name, ``main`` among them, and the names of those that answer roles."""
        self._engines = engines
        self._engine_of_role = engine_of_role

    async def start(self) -> EngineStart:
        """Start one after the other, ``main`` first; what the others say of themselves begins with their names."""
        started = {name: await engine.start() for name, engine in self._engines.items()}
        return EngineStart(
            provenance={
                key if name == MAIN else f"{name}.{key}": value
                for name, start in started.items()
                for key, value in start.provenance.items()
            },
            devices=tuple(device for start in started.values() for device in start.devices),
            pids=tuple(pid for start in started.values() for pid in start.pids),
        )

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """Begin all, each with the cell as it sees it."""
        cells = cell.engine_cells
        await asyncio.gather(*(engine.begin(cells[name], origin_s) for name, engine in self._engines.items()))

    async def generate(self, request: Request) -> Completion:
        """Answered by the engine of the request's role."""
        return await self._engines[self._engine_of_role.get(request.role, MAIN)].generate(request)

    async def series(self) -> dict[str, pa.Table]:
        """Those of all engines, with a column that tells which; absent where one of them does not record it."""
        found = {name: await engine.series() for name, engine in self._engines.items()}
        return merged(found)

    def progress(self) -> int:
        """Changes when one of them makes some."""
        return sum(engine.progress() for engine in self._engines.values())

    def trouble(self) -> str | None:
        """The first one's that has any."""
        troubles = ((name, engine.trouble()) for name, engine in self._engines.items())
        return next((f"engine {name}: {trouble}" for name, trouble in troubles if trouble is not None), None)

    async def close(self) -> None:
        """Close all; an error of one does not keep another open."""
        ends = await asyncio.gather(*(engine.close() for engine in self._engines.values()), return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end


def merged(series: Mapping[str, Mapping[str, pa.Table]]) -> dict[str, pa.Table]:
    """Series of several engines as one: their rows follow each other, and rows that others point at move along."""
    first, *others = series.values()
    names = [name for name in first if all(name in other for other in others)]
    found: dict[str, list[pa.Table]] = {name: [] for name in names}
    n_iterations = 0
    for engine, tables in series.items():
        for name in names:
            found[name].append(_marked(tables[name], engine, n_iterations))
        n_iterations += tables["iterations"].num_rows if "iterations" in tables else 0
    return {name: pa.concat_tables(tables) for name, tables in found.items()}


def _marked(table: pa.Table, engine: str, first_iteration: int) -> pa.Table:
    if "iteration" in table.column_names:
        at = table.column_names.index("iteration")
        moved = pc.add(table.column(at), first_iteration)
        table = table.set_column(at, table.schema.field(at), moved)
    return table.append_column(ENGINE_COLUMN.name, pa.array([engine] * table.num_rows, ENGINE_COLUMN.type))
