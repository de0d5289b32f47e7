"""The meter of an engine in this process: sampled by a process of its own, because this one is busy."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psutil
import pyarrow as pa

from collectors.sampler_process import SamplerProcess
from orchestrator.cell import Cell
from orchestrator.engine import EngineStart
from orchestrator.errors import CellError
from orchestrator.meter.instruments import Instruments
from orchestrator.meter.knobs import knobs_of
from orchestrator.meter.meter import Meter, Prepared
from orchestrator.meter.unmetered import Unmetered


class LocalMeter:
    """`Meter` over instruments of this process, asked in threads."""

    def __init__(self, instruments: Instruments) -> None:
        """``instruments`` are open."""
        self._instruments = instruments

    async def prepare(self, cell: Cell) -> Prepared:
        """Set what the cell asks for."""
        return await asyncio.to_thread(self._instruments.prepare, cell)

    async def latest(self) -> Mapping[str, Mapping[str, float]]:
        """The newest sample of each GPU."""
        return await asyncio.to_thread(self._instruments.latest)

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, observed: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """What was sampled."""
        return await asyncio.to_thread(self._instruments.series, origin_s, end_s)


@asynccontextmanager
async def opened(cell: Cell, started: EngineStart) -> AsyncIterator[Meter]:
    """The meter of a cell whose engine has started in this process; at the end the GPUs are as they were found.

    Raises:
        CellError: the engine does not say which GPUs it is on, or they refuse what the cell asks for.
        LimitsRefused: nobody may set these GPUs, or another does.
        InfrastructureError: they cannot be read, set or restored.
    """
    if not cell.collectors.samples and not knobs_of(cell).named:
        yield Unmetered()
        return
    if cell.on_gpus and not started.devices:
        raise CellError(
            f"engine.kind={cell.engine.kind} does not say which GPUs it is on, so their power cannot be told; "
            "run it with executor=ray, which knows them"
        )
    instruments = Instruments(started.devices, open_sampler=SamplerProcess, own_pids=_own_pids)
    try:
        await asyncio.to_thread(instruments.open, cell)
        yield LocalMeter(instruments)
    finally:
        await asyncio.to_thread(instruments.close)


def _own_pids() -> set[int]:
    """This process and all it has started."""
    return {os.getpid(), *(process.pid for process in psutil.Process().children(recursive=True))}
