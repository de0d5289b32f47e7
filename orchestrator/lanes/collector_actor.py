"""Collector actor: on the engine's node, in a process of its own, it samples and sets GPUs and watches the engine."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import psutil
import pyarrow as pa

from collectors.errors import CollectorError
from collectors.memory_gate import memory_baseline, wait_for_baseline
from collectors.nvml_devices import Nvml
from collectors.processes import ProcessId, is_stopped
from collectors.sampler import Sampler
from collectors.sources import SourceSpec
from orchestrator.errors import InfrastructureError, JoulegridError
from orchestrator.lanes.processes import end_with_parent, kill_lane, of_lane
from orchestrator.lanes.quarantine import OtherGpu
from orchestrator.monitor.base import Prepared
from orchestrator.monitor.instruments import Instruments, LanePower
from orchestrator.ray_runtime.workers import Hello
from orchestrator.records.provenance import clock_anchor
from orchestrator.serving.gc import settle_memory
from orchestrator.spec.cell import Cell

_POLL_S = 0.5
_KILL_TIMEOUT_S = 5.0
_STOPPED_POLLS = 6  # a debugger or a suspended machine may stop a process for a moment
_SLACK_BYTES = 256 * 2**20  # a driver keeps less after a process has ended, a running engine holds more

T = TypeVar("T")


class CollectorActor:
    """An async Ray actor that returns errors instead of raising them."""

    def __init__(self, lane_id: str) -> None:
        self._lane_id = lane_id
        self._host = socket.gethostname()
        self._engine: ProcessId | None = None
        self._baseline_bytes: Mapping[str, int] = {}
        self._instruments = Instruments((), open_sampler=_sampler, own_pids=self._own_pids)
        self._power = LanePower(self._instruments)
        self._pids: set[int] = set()

    async def hello(self) -> Hello:
        """Return version and place; from now on this process ends with its raylet."""
        end_with_parent(self._lane_id)
        return Hello.of_this_process()

    async def attach(self, engine: Hello, node: str, gpu: str | None) -> tuple[str, ...] | JoulegridError:
        """Return the UUIDs of the engine's GPUs and read their used memory before the engine is loaded.

        ``node`` is the node of this actor; ``gpu`` is the product name that all GPUs must have, None for any.
        """
        if engine.node != node:
            return InfrastructureError(f"the engine is on node {engine.node}, its collector on {node}")
        self._engine = ProcessId.of(engine.pid)
        if not engine.gpu_ids:
            return ()
        try:
            return await asyncio.to_thread(self._resolve, engine.gpu_ids, gpu)
        except OtherGpu as error:
            return error
        except CollectorError as error:
            return InfrastructureError(f"GPUs on {self._host}: {error}")

    async def clock(self) -> dict[str, float]:
        """Return one instant on both clocks of this host."""
        return clock_anchor()

    async def equip(self, cell: Cell, devices: Sequence[str]) -> float | JoulegridError | None:
        """Start to sample and set these GPUs; return the mean power without engine (W), None if it is not measured."""
        self._instruments = Instruments(devices, open_sampler=_sampler, own_pids=self._own_pids)
        self._power = LanePower(self._instruments)

        def open_instruments() -> float | None:
            self._instruments.open(cell)
            return self._power.bare_idle_w(cell.protocol.idle_baseline_s)

        return await self._in_thread(open_instruments)

    async def loaded(self, cell: Cell) -> tuple[float | None, float | None] | JoulegridError:
        """Return the energy since `equip` returned (J) and the mean power with the idle engine (W)."""
        return await self._in_thread(lambda: self._power.started(cell.protocol.idle_baseline_s))

    async def prepare(self, cell: Cell) -> Prepared | JoulegridError:
        """Call `Monitor.prepare`, after a garbage collection that would otherwise delay samples."""
        settle_memory()
        return await self._in_thread(lambda: self._instruments.prepare(cell))

    async def latest(self) -> dict[str, dict[str, float]]:
        """Return `Monitor.latest`."""
        return self._instruments.latest()

    async def series(self, origin_s: float, end_s: float) -> dict[str, pa.Table] | JoulegridError:
        """Return `Monitor.series`; times are CLOCK_MONOTONIC of this host."""
        return await self._in_thread(lambda: self._instruments.series(origin_s, end_s))

    async def watch(self) -> str:
        """Wait until the engine's process ends or is stopped; return what happened to it."""
        n_stopped = 0
        while self._engine is not None and self._engine.alive:
            n_stopped = n_stopped + 1 if is_stopped(self._engine.pid) else 0
            if n_stopped >= _STOPPED_POLLS:
                return f"the engine's actor (pid {self._engine.pid} on {self._host}) was stopped by a signal (SIGSTOP)"
            await asyncio.sleep(_POLL_S)
        await asyncio.to_thread(kill_lane, self._lane_id, _KILL_TIMEOUT_S)
        raylet = psutil.Process().parent()
        if raylet is not None and is_stopped(raylet.pid):  # then its lanes end by themselves
            return f"node {self._host} was lost, its raylet or all of it: the raylet (pid {raylet.pid}) is stopped"
        pid = "unknown" if self._engine is None else self._engine.pid
        return f"the engine's actor (pid {pid} on {self._host}) was killed or crashed"

    async def restore(self) -> JoulegridError | None:
        """Restore the limits and clocks that the GPUs had before."""
        return await self._in_thread(self._instruments.close)

    async def settle(self, timeout_s: float) -> JoulegridError | None:
        """Kill the remaining processes of the engine and wait until the used memory of its GPUs is as before."""
        alive = await asyncio.to_thread(kill_lane, self._lane_id, timeout_s)
        if alive:
            return InfrastructureError(f"on {self._host}: killed and not gone in {timeout_s:g} s: pids {alive}")
        if not self._baseline_bytes:
            return None
        try:
            await asyncio.to_thread(
                wait_for_baseline, self._baseline_bytes, slack_bytes=_SLACK_BYTES, timeout_s=timeout_s
            )
        except CollectorError as error:
            return InfrastructureError(f"on {self._host}: {error}")
        return None

    async def _in_thread(self, work: Callable[[], T]) -> T | JoulegridError:
        """Return the value or error of ``work`` from a thread, so that the loop can watch the engine meanwhile."""
        try:
            return await asyncio.to_thread(work)
        except JoulegridError as error:
            return type(error)(f"on {self._host}: {error}")

    def _own_pids(self) -> set[int]:
        """Return the ids of all processes of the lane, including those that have ended."""
        self._pids |= {os.getpid()} | {process.pid for process in of_lane(self._lane_id)}
        return self._pids

    def _resolve(self, gpu_ids: tuple[str, ...], name: str | None) -> tuple[str, ...]:
        with Nvml() as nvml:
            gpus = nvml.resolve(gpu_ids)
        others = sorted({gpu.name for gpu in gpus if name not in (gpu.name, None)})
        if others:
            raise OtherGpu(f"node {self._host} has {', '.join(others)}, the cell says {name}")
        uuids = tuple(gpu.mig_uuid or gpu.uuid for gpu in gpus)
        self._baseline_bytes = memory_baseline(uuids)
        return uuids


def _sampler(sources: Sequence[SourceSpec], period_s: float) -> Sampler:
    return Sampler([source.build() for source in sources], period_s)
