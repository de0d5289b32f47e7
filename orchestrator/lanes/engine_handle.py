"""The engine of a lane, held through its actors: placed, loaded, asked, closed; and why it was lost."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from orchestrator.errors import InfrastructureError, JoulegridError
from orchestrator.lanes.actors import ActorLost, Await, LaneActors, Steps, place, value_of
from orchestrator.lanes.placement import Need
from orchestrator.ray_runtime.workers import check_version
from orchestrator.serving.engine import EngineStart
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings

_CAUSE_TIMEOUT_S = 4.0  # the collector looks twice a second; Ray tells of a lost node a little later


class HeldEngine:
    """Its methods are the steps of a lane, in the order of their definition."""

    def __init__(self, lane_id: str, settings: ClusterSettings, node: str | None) -> None:
        """``node`` is where it is to be; None while only Ray knows."""
        self.lane_id = lane_id
        self.node = node
        self.host: str | None = None
        self.devices: tuple[str, ...] = ()
        self.clock: dict[str, float] | None = None
        self.bare_idle_power_w: float | None = None
        self.start_energy_j: float | None = None
        self.loaded_idle_power_w: float | None = None
        self.start = EngineStart()
        self.start_s: float | None = None
        self._settings = settings
        self._actors: LaneActors | None = None
        self._watch: Any = None
        self._is_lost = False
        self.found_no_place = False
        self.is_closing = False

    def placed(self, need: Need, exclude: Collection[str], unplaced: Callable[[], str], gpu: str | None) -> Steps:
        """Actors that answer, and the GPUs they are on.

        Args:
            need: what to place.
            exclude: nodes to leave out where none is given.
            unplaced: why there may be no place, asked when none was found.
            gpu: the product name its GPUs must have; None without GPUs.

        Raises:
            EnvironmentFailure: the node runs another Joulegrid.
            OtherGpu: the node has other GPUs.
            InfrastructureError: no place in time, or an actor was lost.
        """
        self._actors = actors = place(self.lane_id, need, self.node, exclude)
        hellos = actors.engine.hello.remote(), actors.collector.hello.remote()
        deadline_s = time.monotonic() + self._settings.placement_timeout_s
        engine = yield from self._placing(hellos[0], deadline_s, unplaced)
        collector = yield from self._placing(hellos[1], deadline_s, unplaced)
        self.node = engine.node
        for hello in (engine, collector):
            check_version(hello)
        self.host = engine.host
        attached = actors.collector.attach.remote(engine, collector.node, gpu)
        self.devices = yield from self._placing(attached, deadline_s, unplaced)
        self.clock = yield from self._placing(actors.collector.clock.remote(), deadline_s, unplaced)
        self._watch = actors.collector.watch.remote()

    def loaded(self, cell: Cell) -> Steps:
        """Begin to sample its GPUs, then start it with the engine options of a cell.

        Raises:
            CellError: the engine or its GPUs refuse what the cell asks for.
            LimitsRefused: nobody may set the GPUs as the cell asks, or another process sets them.
            InfrastructureError: it was lost, or did not start in time.
        """
        begun_s = time.monotonic()
        deadline_s = begun_s + self._settings.engine_start_timeout_s
        collector, monitored = self._there.collector, cell.on_gpus or cell.collectors.samples
        if monitored:
            self.bare_idle_power_w = yield from self._watched(collector.equip.remote(cell, self.devices), deadline_s)
            begun_s = time.monotonic()
        self.start = yield from self._watched(self._there.engine.start.remote(cell), deadline_s)
        self.start_s = time.monotonic() - begun_s
        self._check_devices()
        if monitored:
            found = yield from self._watched(collector.loaded.remote(cell), deadline_s)
            self.start_energy_j, self.loaded_idle_power_w = found

    def idle(self) -> Steps:
        """Wait until there is something to do.

        Raises:
            InfrastructureError: the engine's process was lost meanwhile.
        """
        if (yield Await((self._watch,))) is not None:
            yield from self._lost("")

    def run(self, cell: Cell) -> Steps:
        """The result of a cell.

        Raises:
            InfrastructureError: the engine was lost.
            JoulegridError: the cell's own; its requests are aborted when the next one begins.
        """
        if cell.workflow.executor == "ray":
            ref = self._there.conduct().run.remote(cell, dict(self.start.provenance))
        else:
            ref = self._there.engine.run.remote(cell, self._there.collector)
        return (yield from self._watched(ref, None))

    def closed(self) -> Steps:
        """Give its GPUs back as they were, close it, kill it, wait for its memory, give its place back: in this order.

        Raises:
            InfrastructureError: its processes, memory or limits did not go; its place was given back all the same.
        """
        if self._actors is None:
            return
        timeout_s = self._settings.teardown_timeout_s
        try:
            restored = None if self._watch is None else self._actors.collector.restore.remote()
            if self._watch is not None and not self._is_lost:
                self.is_closing = True
                yield Await((self._actors.engine.close.remote(),), time.monotonic() + timeout_s)
                self.is_closing = False
            self._actors.kill_engine()
            if self._watch is None and not self._actors.are_placed():  # nobody is there to answer
                return
            settled = self._actors.collector.settle.remote(timeout_s)
            asked = [(settled, 2 * timeout_s, "its processes and memory are gone")]
            if restored is not None:
                asked.append((restored, timeout_s, "its GPUs are as they were found"))
            yield from self._all_closing(asked)
        except ActorLost:  # its node is gone; what was there ends by itself
            return
        finally:
            self.abandon()

    def _all_closing(self, asked: Sequence[tuple[Any, float, str]]) -> Steps:
        """All of them, whatever one says: the collector is not killed while it restores."""
        failed = []
        for ref, timeout_s, what in asked:
            try:
                yield from self._closing(ref, timeout_s, what)
            except JoulegridError as error:
                failed.append(error)
        if failed:
            raise InfrastructureError("; ".join(map(str, failed)))

    def _closing(self, ref: Any, timeout_s: float, what: str) -> Steps:
        """An answer that has to come: what nobody has said is not so."""
        if (yield Await((ref,), time.monotonic() + timeout_s)) is None:
            raise InfrastructureError(f"the collector on {self._where} does not say within {timeout_s:g} s that {what}")
        return value_of(ref)

    def abandon(self) -> None:
        """Kill its actors without waiting for anything."""
        if self._actors is not None:
            self._actors.remove()

    def _check_devices(self) -> None:
        """What is sampled and set must be what the engine is on."""
        if self.start.devices and set(self.start.devices) != set(self.devices):
            raise InfrastructureError(
                f"the engine on {self._where} is on {', '.join(self.start.devices)}, its lane has "
                f"{', '.join(self.devices) or 'no GPU'}"
            )

    def _placing(self, ref: Any, deadline_s: float, unplaced: Callable[[], str]) -> Steps:
        if (yield Await((ref,), deadline_s)) is None:
            if not self._there.are_placed():
                self.found_no_place = True
                raise InfrastructureError(unplaced())
            raise InfrastructureError(
                f"a lane found a place, but its processes on {self._where} do not answer in "
                f"{self._settings.placement_timeout_s:g} s (cluster.placement_timeout_s)"
            )
        try:
            return value_of(ref)
        except ActorLost as error:
            raise InfrastructureError(
                f"an actor on {self._where} was lost before the engine was loaded: {error}"
            ) from error

    def _watched(self, ref: Any, deadline_s: float | None) -> Steps:
        """An answer of the engine, or why it can give none."""
        ready = yield Await((ref, self._watch), deadline_s)
        if ready is None:
            self._is_lost = True
            raise InfrastructureError(
                f"the engine on {self._where} did not start in {self._settings.engine_start_timeout_s:g} s "
                "(cluster.engine_start_timeout_s)"
            )
        try:
            if ready is ref:
                return value_of(ref)
            told = ""
        except ActorLost as error:
            told = str(error)
        yield from self._lost(told)

    def _lost(self, told: str) -> Steps:
        """Raise what became of the engine's process or of its node; ``told`` is what Ray says."""
        self._is_lost = True
        if (yield Await((self._watch,), time.monotonic() + _CAUSE_TIMEOUT_S)) is None:
            raise InfrastructureError(f"an actor on {self._where} was lost: {told}")
        try:
            raise InfrastructureError(value_of(self._watch))
        except ActorLost as error:
            raise (yield from self._lost_with_collector(str(error))) from error

    def _lost_with_collector(self, told: str) -> Steps:
        """The error where the collector is lost: alone, or with the engine and so with the node."""
        answered = self._there.engine.hello.remote()
        ready = yield Await((answered,), time.monotonic() + _CAUSE_TIMEOUT_S)
        try:
            if ready is not None:
                value_of(answered)
                return InfrastructureError(f"the collector on {self._where} was lost: {told}")
        except (ActorLost, JoulegridError):
            told = f"{told}; so is the engine"
        return InfrastructureError(f"node {self.node} ({self._where}) was lost, its raylet or all of it: {told}")

    @property
    def _where(self) -> str:
        return self.host or self.node or "a node not known yet"

    @property
    def _there(self) -> LaneActors:
        if self._actors is None:
            raise AssertionError("the engine is not placed")
        return self._actors
