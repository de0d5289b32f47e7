"""The monitor of an engine in this process. A process of its own samples, because this one is busy."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psutil
import pyarrow as pa

from collectors.sampler_process import SamplerProcess
from orchestrator.errors import CellError
from orchestrator.monitor.base import LatestSamples, Monitor, NullMonitor, Prepared
from orchestrator.monitor.computed import monitor_without_hardware
from orchestrator.monitor.instruments import Instruments
from orchestrator.monitor.limits import knobs_of
from orchestrator.monitor.timeout import DriverHangs, await_within
from orchestrator.serving.engine import EngineStart
from orchestrator.spec.cell import Cell

_TIMEOUT_S = 300.0
"""The timeout of a lane for its collector: setting eight GPUs in turn through sudo takes long."""

_HUNG_TIMEOUT_S = 5.0
"""Timeout of a driver that has already exceeded the other one."""


@asynccontextmanager
async def open_monitor(cell: Cell, started: EngineStart) -> AsyncIterator[Monitor]:
    """Open the monitor of a cell whose engine has started in this process; restore the GPUs at the end.

    Raises:
        CellError: The engine does not name its GPUs, or they refuse a setting of the cell.
        LimitsRefused: This process may not set these GPUs, or another process sets them.
        InfrastructureError: The GPUs cannot be read, set or restored.
    """
    monitor = monitor_without_hardware(cell)
    if monitor is None and not cell.collectors.samples and not knobs_of(cell).named:
        monitor = NullMonitor()
    if monitor is not None:
        yield monitor
        return
    async with _opened_instruments(cell, started) as instruments:
        yield LocalMonitor(instruments)


class LocalMonitor:
    """`Monitor` over instruments of this process, called in threads. A driver that hangs raises `DriverHangs`."""

    def __init__(self, instruments: Instruments) -> None:
        """``instruments`` are open."""
        self._instruments = instruments

    async def prepare(self, cell: Cell) -> Prepared:
        """Set the limit and clock of the cell."""
        return await await_within(_TIMEOUT_S, "set the GPUs", lambda: self._instruments.prepare(cell))

    async def latest(self) -> LatestSamples:
        """Return the newest sample of each GPU."""
        return await await_within(_TIMEOUT_S, "read the GPUs", self._instruments.latest)

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, recorded: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """Return the samples of the cell."""
        return await await_within(
            _TIMEOUT_S, "handed out its samples", lambda: self._instruments.series(origin_s, end_s)
        )


@asynccontextmanager
async def _opened_instruments(cell: Cell, started: EngineStart) -> AsyncIterator[Instruments]:
    if cell.on_gpus and not started.devices:
        raise CellError(
            f"engine.kind={cell.engine.kind} does not say which GPUs it uses, so their power cannot be measured; "
            "run it with executor=ray, which assigns the GPUs"
        )
    instruments = Instruments(started.devices, open_sampler=SamplerProcess, own_pids=_own_pids)
    hangs = False
    try:
        await await_within(_TIMEOUT_S, "opened the sensors", lambda: instruments.open(cell))
        yield instruments
    except DriverHangs:
        hangs = True
        raise
    finally:
        await _close(instruments, hangs)


async def _close(instruments: Instruments, hangs: bool) -> None:
    """Restore the GPUs. After a hang, do not report a second one: the thread or the guard restores them later."""
    try:
        await await_within(_HUNG_TIMEOUT_S if hangs else _TIMEOUT_S, "gave the GPUs back", instruments.close)
    except DriverHangs:
        if not hangs:
            raise


def _own_pids() -> set[int]:
    """Return the ids of this process and of all its descendants."""
    return {os.getpid(), *(process.pid for process in psutil.Process().children(recursive=True))}
