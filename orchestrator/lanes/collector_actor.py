"""The actor beside the engine's, on the same node: it reads and sets the GPUs, and sees what becomes of the engine."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import psutil
import pyarrow as pa

import orchestrator
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

_LOOK_EVERY_S = 0.5
_KILL_TIMEOUT_S = 5.0
_STOPPED_LOOKS = 6  # a debugger or a suspended machine may stop a process for a moment
_SLACK_BYTES = 256 * 2**20  # a driver keeps less of a process that has gone, an engine holds more

T = TypeVar("T")


class CollectorActor:
    """Made an async Ray actor by the lane. Errors are returned, not raised."""

    def __init__(self, lane_id: str) -> None:
        self._lane_id = lane_id
        self._host = socket.gethostname()
        self._engine: ProcessId | None = None
        self._baseline_bytes: Mapping[str, int] = {}
        self._instruments = Instruments((), open_sampler=_sampler, own_pids=self._own_pids)
        self._power = LanePower(self._instruments)
        self._pids: set[int] = set()

    async def hello(self) -> Hello:
        """Version and place; from now on this process ends with its raylet."""
        import ray

        end_with_parent(self._lane_id)
        node = ray.get_runtime_context().get_node_id()
        return Hello(version=orchestrator.__version__, host=self._host, node=node, pid=os.getpid())

    async def attach(self, engine: Hello, node: str, gpu: str | None) -> tuple[str, ...] | JoulegridError:
        """UUIDs of the engine's GPUs, whose memory is read before anything is loaded.

        ``node`` is our own, ``gpu`` the product name that all must have, if any.
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
        """One instant on both clocks of this host."""
        return clock_anchor()

    async def equip(self, cell: Cell, devices: Sequence[str]) -> float | JoulegridError | None:
        """Sample and set these GPUs from now on; mean power of the empty GPUs (W), None where it is not measured."""
        self._instruments = Instruments(devices, open_sampler=_sampler, own_pids=self._own_pids)
        self._power = LanePower(self._instruments)

        def equipped() -> float | None:
            self._instruments.open(cell)
            return self._power.bare_idle_w(cell.protocol.idle_baseline_s)

        return await self._told(equipped)

    async def loaded(self, cell: Cell) -> tuple[float | None, float | None] | JoulegridError:
        """Energy since `equip` answered (J), and mean power with the engine idle (W)."""
        return await self._told(lambda: self._power.started(cell.protocol.idle_baseline_s))

    async def prepare(self, cell: Cell) -> Prepared | JoulegridError:
        """`Monitor.prepare`; samples must not wait for a garbage collection either."""
        settle_memory()
        return await self._told(lambda: self._instruments.prepare(cell))

    async def latest(self) -> dict[str, dict[str, float]]:
        """`Monitor.latest`."""
        return self._instruments.latest()

    async def series(self, origin_s: float, end_s: float) -> dict[str, pa.Table] | JoulegridError:
        """`Monitor.series`; times are CLOCK_MONOTONIC of this host."""
        return await self._told(lambda: self._instruments.series(origin_s, end_s))

    async def watch(self) -> str:
        """What became of the engine's process, once it is no more what it was."""
        n_stopped = 0
        while self._engine is not None and self._engine.alive:
            n_stopped = n_stopped + 1 if is_stopped(self._engine.pid) else 0
            if n_stopped >= _STOPPED_LOOKS:
                return f"the engine's actor (pid {self._engine.pid} on {self._host}) was stopped by a signal (SIGSTOP)"
            await asyncio.sleep(_LOOK_EVERY_S)
        await asyncio.to_thread(kill_lane, self._lane_id, _KILL_TIMEOUT_S)
        raylet = psutil.Process().parent()
        if raylet is not None and is_stopped(raylet.pid):  # whose lanes end themselves
            return f"node {self._host} was lost, its raylet or all of it: the raylet (pid {raylet.pid}) is stopped"
        pid = "unknown" if self._engine is None else self._engine.pid
        return f"the engine's actor (pid {pid} on {self._host}) was killed or crashed"

    async def restore(self) -> JoulegridError | None:
        """Give the GPUs back as they were found."""
        return await self._told(self._instruments.close)

    async def settle(self, timeout_s: float) -> JoulegridError | None:
        """Kill what is left of the engine, and wait until its GPUs are as empty as before."""
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

    async def _told(self, work: Callable[[], T]) -> T | JoulegridError:
        """What ``work`` returns or raises, from a thread: the loop watches the engine meanwhile."""
        try:
            return await asyncio.to_thread(work)
        except JoulegridError as error:
            return type(error)(f"on {self._host}: {error}")

    def _own_pids(self) -> set[int]:
        """Processes of the lane, those that have ended since they were first seen too."""
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
