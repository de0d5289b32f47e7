"""The meter of an engine in this process: sampled by a process of its own, because this one is busy."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psutil
import pyarrow as pa

from collectors.sampler_process import SamplerProcess
from orchestrator.errors import CellError
from orchestrator.monitor.base import Meter, Prepared, Unmetered
from orchestrator.monitor.computed import ComputedMeter
from orchestrator.monitor.instruments import Instruments
from orchestrator.monitor.limits import knobs_of
from orchestrator.monitor.timeout import DriverHangs, awaited_within
from orchestrator.serving.engine import EngineStart
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import COMPUTED_POWER

_TIMEOUT_S = 300.0
"""As a lane waits for its collector: eight GPUs take some time to be set one after the other, through sudo."""

_HUNG_TIMEOUT_S = 5.0
"""For one that has kept us waiting so long already."""


class LocalMeter:
    """`Meter` over instruments of this process, asked in threads. A driver that hangs is an `InfrastructureError`."""

    def __init__(self, instruments: Instruments) -> None:
        """``instruments`` are open."""
        self._instruments = instruments

    async def prepare(self, cell: Cell) -> Prepared:
        """Set what the cell asks for."""
        return await awaited_within(_TIMEOUT_S, "set the GPUs", lambda: self._instruments.prepare(cell))

    async def latest(self) -> Mapping[str, Mapping[str, float]]:
        """The newest sample of each GPU."""
        return await awaited_within(_TIMEOUT_S, "read the GPUs", self._instruments.latest)

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, observed: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """What was sampled."""
        return await awaited_within(
            _TIMEOUT_S, "handed out its samples", lambda: self._instruments.series(origin_s, end_s)
        )


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
    hangs = False
    try:
        await awaited_within(_TIMEOUT_S, "opened the sensors", lambda: instruments.open(cell))
        yield LocalMeter(instruments)
    except DriverHangs:
        hangs = True
        raise
    finally:
        await _close(instruments, hangs)


async def _close(instruments: Instruments, hangs: bool) -> None:
    """A driver that hangs was told already; what is not given back in time is once it answers, or by the guard."""
    try:
        await awaited_within(_HUNG_TIMEOUT_S if hangs else _TIMEOUT_S, "gave the GPUs back", instruments.close)
    except DriverHangs:
        if not hangs:
            raise


def _own_pids() -> set[int]:
    """This process and all it has started."""
    return {os.getpid(), *(process.pid for process in psutil.Process().children(recursive=True))}


def meter_without_hardware(cell: Cell) -> Meter | None:
    """The meter of a cell whose power is computed, or that nobody meters; None where hardware has to be asked."""
    if cell.collectors.power == COMPUTED_POWER:
        return ComputedMeter()
    return None if cell.collectors.samples or cell.on_gpus else Unmetered()


@asynccontextmanager
async def metered(cell: Cell, started: EngineStart) -> AsyncIterator[Meter]:
    """The meter of a cell whose engine has started in this process; errors are those of `local.opened`."""
    without = meter_without_hardware(cell)
    if without is not None:
        yield without
        return
    async with opened(cell, started) as meter:
        yield meter
