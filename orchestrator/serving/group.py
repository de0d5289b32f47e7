"""Engine group: several engines behind the contract of one; a request goes to the engine of its role."""

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
    """Build the engine of a cell, not started: one engine, or a group for a cell with several."""
    engines = {name: _build(own, clock) for name, own in cell.engine_cells.items()}
    return engines[MAIN] if len(engines) == 1 else EngineGroup(engines, cell.engine_of_role)


def _build(cell: Cell, clock: Clock) -> Engine:
    engine: Engine = plugins.part("orchestrator.engines", cell.engine.kind, "build")(cell, clock)
    return engine


class EngineGroup:
    """Several engines as one; errors are those of the engine concerned."""

    def __init__(self, engines: Mapping[str, Engine], engine_of_role: Mapping[str, str]) -> None:
        """Take the engines by name, ``main`` among them, and the engine name of each role."""
        self._engines = engines
        self._engine_of_role = engine_of_role

    async def start(self) -> EngineStart:
        """Start one engine after the other, ``main`` first; provenance keys of the others begin with their names."""
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
        """Begin all engines, each with its own view of the cell."""
        cells = cell.engine_cells
        await asyncio.gather(*(engine.begin(cells[name], origin_s) for name, engine in self._engines.items()))

    async def generate(self, request: Request) -> Completion:
        """Let the engine of the request's role answer."""
        return await self._engines[self._engine_of_role.get(request.role, MAIN)].generate(request)

    async def series(self) -> dict[str, pa.Table]:
        """Return the series that all engines record, with the engine's name as a column."""
        return merge_series({name: await engine.series() for name, engine in self._engines.items()})

    def progress(self) -> int:
        """Return a number that changes when one of the engines makes progress."""
        return sum(engine.progress() for engine in self._engines.values())

    def trouble(self) -> str | None:
        """Return the trouble of the first engine that has any."""
        troubles = ((name, engine.trouble()) for name, engine in self._engines.items())
        return next((f"engine {name}: {trouble}" for name, trouble in troubles if trouble is not None), None)

    async def close(self) -> None:
        """Close all engines, even if one raises an error."""
        results = await asyncio.gather(*(engine.close() for engine in self._engines.values()), return_exceptions=True)
        for error in results:
            if error is not None:
                raise error


def merge_series(series: Mapping[str, Mapping[str, pa.Table]]) -> dict[str, pa.Table]:
    """Concatenate the series of several engines; a series that one of them lacks is left out.

    The column ``iteration``, an index into the rows of ``iterations``, is shifted accordingly.
    """
    first, *others = series.values()
    names = [name for name in first if all(name in other for other in others)]
    parts: dict[str, list[pa.Table]] = {name: [] for name in names}
    n_iterations = 0
    for engine, tables in series.items():
        for name in names:
            parts[name].append(_with_engine(tables[name], engine, n_iterations))
        n_iterations += tables["iterations"].num_rows if "iterations" in tables else 0
    return {name: pa.concat_tables(tables) for name, tables in parts.items()}


def _with_engine(table: pa.Table, engine: str, first_iteration: int) -> pa.Table:
    if "iteration" in table.column_names:
        index = table.column_names.index("iteration")
        shifted = pc.add(table.column(index), first_iteration)
        table = table.set_column(index, table.schema.field(index), shifted)
    return table.append_column(ENGINE_COLUMN.name, pa.array([engine] * table.num_rows, ENGINE_COLUMN.type))
