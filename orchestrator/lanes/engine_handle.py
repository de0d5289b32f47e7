"""Engine handle: the driver's side of a lane's actors, as steps to place, load, use and close its engine."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from orchestrator.errors import InfrastructureError, JoulegridError
from orchestrator.lanes.actors import ActorLost, LaneActors, Steps, WaitFor, place, value_of
from orchestrator.lanes.placement import PlacementRequest
from orchestrator.ray_runtime.workers import check_version
from orchestrator.serving.engine import EngineStart
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings

_REASON_TIMEOUT_S = 4.0  # the collector checks twice a second; Ray reports a lost node a little later


class EngineHandle:
    """The engine of a lane behind its actors. The methods are the steps of a lane, in the order of definition."""

    def __init__(self, lane_id: str, settings: ClusterSettings, node: str | None) -> None:
        """``node`` is where the engine is placed; None leaves the choice to Ray."""
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
        self.found_no_place = False
        self.is_closing = False
        self._settings = settings
        self._actors: LaneActors | None = None
        self._watch: Any = None
        self._is_lost = False

    def placed(
        self, request: PlacementRequest, exclude: Collection[str], timeout_text: Callable[[], str], gpu: str | None
    ) -> Steps:
        """Place the actors, wait until they answer, and learn which GPUs they are on.

        Args:
            request: what to place.
            exclude: nodes to leave out if no node is given.
            timeout_text: called for the message if Ray does not place the actors in time.
            gpu: product name that all GPUs must have; None without GPUs.

        Raises:
            EnvironmentFailure: the node runs another version of Joulegrid.
            OtherGpu: the node has other GPUs.
            InfrastructureError: the actors were not placed in time, or one was lost.
        """
        self._actors = actors = place(self.lane_id, request, self.node, exclude)
        hellos = actors.engine.hello.remote(), actors.collector.hello.remote()
        deadline_s = time.monotonic() + self._settings.placement_timeout_s
        engine = yield from self._placing(hellos[0], deadline_s, timeout_text)
        collector = yield from self._placing(hellos[1], deadline_s, timeout_text)
        self.node = engine.node
        for hello in (engine, collector):
            check_version(hello)
        self.host = engine.host
        attached = actors.collector.attach.remote(engine, collector.node, gpu)
        self.devices = yield from self._placing(attached, deadline_s, timeout_text)
        self.clock = yield from self._placing(actors.collector.clock.remote(), deadline_s, timeout_text)
        self._watch = actors.collector.watch.remote()

    def loaded(self, cell: Cell) -> Steps:
        """Start to sample the GPUs, then load the engine with the options of ``cell``.

        Raises:
            CellError: the engine or its GPUs refuse the options.
            LimitsRefused: this process may not set the GPUs, or another process sets them.
            InfrastructureError: the engine was lost or did not start in time.
        """
        begin_s = time.monotonic()
        deadline_s = begin_s + self._settings.engine_start_timeout_s
        collector, is_monitored = self._placed_actors.collector, cell.on_gpus or cell.collectors.samples
        if is_monitored:
            self.bare_idle_power_w = yield from self._watched(collector.equip.remote(cell, self.devices), deadline_s)
            begin_s = time.monotonic()
        self.start = yield from self._watched(self._placed_actors.engine.start.remote(cell), deadline_s)
        self.start_s = time.monotonic() - begin_s
        self._check_devices()
        if is_monitored:
            energy_and_power = yield from self._watched(collector.loaded.remote(cell), deadline_s)
            self.start_energy_j, self.loaded_idle_power_w = energy_and_power

    def idle(self) -> Steps:
        """Wait until there is something to do.

        Raises:
            InfrastructureError: the engine's process was lost meanwhile.
        """
        if (yield WaitFor((self._watch,))) is not None:
            yield from self._raise_lost("")

    def run(self, cell: Cell) -> Steps:
        """Run a cell and return its result.

        Raises:
            InfrastructureError: the engine was lost.
            JoulegridError: the error of the cell; its requests are aborted when the next cell begins.
        """
        actors = self._placed_actors
        if cell.workflow.executor == "ray":
            ref = actors.get_workflow_actor().run.remote(cell, dict(self.start.provenance))
        else:
            ref = actors.engine.run.remote(cell, actors.collector)
        return (yield from self._watched(ref, None))

    def closed(self) -> Steps:
        """Restore the GPU limits, close the engine, kill it, wait for its memory and remove its place, in this order.

        Raises:
            InfrastructureError: processes, memory or limits remain; the place is removed nevertheless.
        """
        if self._actors is None:
            return
        timeout_s = self._settings.teardown_timeout_s
        try:
            restored = None if self._watch is None else self._actors.collector.restore.remote()
            if self._watch is not None and not self._is_lost:
                self.is_closing = True
                yield WaitFor((self._actors.engine.close.remote(),), time.monotonic() + timeout_s)
                self.is_closing = False
            self._actors.kill_engine()
            if self._watch is None and not self._actors.are_placed():  # no actor exists that could answer
                return
            settled = self._actors.collector.settle.remote(timeout_s)
            calls = [(settled, 2 * timeout_s, "its processes and memory are gone")]
            if restored is not None:
                calls.append((restored, timeout_s, "its GPUs are as they were found"))
            yield from self._confirmed(calls)
        except ActorLost:  # the node is gone, and its processes end by themselves
            return
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Kill its actors without waiting for anything."""
        if self._actors is not None:
            self._actors.remove()

    def _placing(self, ref: Any, deadline_s: float, timeout_text: Callable[[], str]) -> Steps:
        """Return the result of a call made while the actors are being placed."""
        if (yield WaitFor((ref,), deadline_s)) is None:
            if not self._placed_actors.are_placed():
                self.found_no_place = True
                raise InfrastructureError(timeout_text())
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

    def _check_devices(self) -> None:
        """Raise if the engine runs on other GPUs than those that are sampled and set."""
        if self.start.devices and set(self.start.devices) != set(self.devices):
            raise InfrastructureError(
                f"the engine on {self._where} is on {', '.join(self.start.devices)}, its lane has "
                f"{', '.join(self.devices) or 'no GPU'}"
            )

    def _watched(self, ref: Any, deadline_s: float | None) -> Steps:
        """Return the result of a call on the engine; raise if the engine is lost or the deadline passes."""
        ready = yield WaitFor((ref, self._watch), deadline_s)
        if ready is None:
            self._is_lost = True
            raise InfrastructureError(
                f"the engine on {self._where} did not start in {self._settings.engine_start_timeout_s:g} s "
                "(cluster.engine_start_timeout_s)"
            )
        try:
            if ready is ref:
                return value_of(ref)
            ray_text = ""
        except ActorLost as error:
            ray_text = str(error)
        yield from self._raise_lost(ray_text)

    def _raise_lost(self, ray_text: str) -> Steps:
        """Raise what happened to the engine's process or its node; ``ray_text`` is Ray's message."""
        self._is_lost = True
        if (yield WaitFor((self._watch,), time.monotonic() + _REASON_TIMEOUT_S)) is None:
            raise InfrastructureError(f"an actor on {self._where} was lost: {ray_text}")
        try:
            raise InfrastructureError(value_of(self._watch))
        except ActorLost as error:
            raise (yield from self._collector_lost(str(error))) from error

    def _collector_lost(self, ray_text: str) -> Steps:
        """Return the error of a lost collector: that of the node if the engine is lost too."""
        hello = self._placed_actors.engine.hello.remote()
        ready = yield WaitFor((hello,), time.monotonic() + _REASON_TIMEOUT_S)
        try:
            if ready is not None:
                value_of(hello)
                return InfrastructureError(f"the collector on {self._where} was lost: {ray_text}")
        except (ActorLost, JoulegridError):
            ray_text = f"{ray_text}; so is the engine"
        return InfrastructureError(f"node {self.node} ({self._where}) was lost, its raylet or all of it: {ray_text}")

    def _confirmed(self, calls: Sequence[tuple[Any, float, str]]) -> Steps:
        """Wait for all calls even if one fails: the collector must not be killed while it restores limits."""
        errors = []
        for ref, timeout_s, what in calls:
            try:
                if (yield WaitFor((ref,), time.monotonic() + timeout_s)) is None:
                    raise InfrastructureError(
                        f"the collector on {self._where} does not confirm within {timeout_s:g} s that {what}"
                    )
                value_of(ref)
            except JoulegridError as error:
                errors.append(error)
        if errors:
            raise InfrastructureError("; ".join(map(str, errors)))

    @property
    def _where(self) -> str:
        return self.host or self.node or "a node not known yet"

    @property
    def _placed_actors(self) -> LaneActors:
        if self._actors is None:
            raise AssertionError("the engine is not placed")
        return self._actors
