"""A lane as the driver sees it: placed, started, given cells one after the other, torn down.

Its life is a generator: it yields what it waits for (`Await`), and the pool sends back the reference that is ready,
or None when the time is up. Nothing here blocks.
"""

import time
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.cell import Cell
from orchestrator.engine import EngineStart
from orchestrator.errors import InfrastructureError, JoulegridError
from orchestrator.execution.executor import Outcome
from orchestrator.execution.lanes.actors import ActorLost, LaneActors, place, value_of
from orchestrator.execution.lanes.need import Need
from orchestrator.execution.ray_worker import Hello, check_version
from orchestrator.provenance import unix_now_s
from orchestrator.record import CellResult, LaneRecord
from orchestrator.settings import ClusterSettings

State = Literal["placing", "starting", "idle", "running", "closing", "gone"]

_CAUSE_TIMEOUT_S = 4.0
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Await:
    """The first of these references, until this time of the monotonic clock."""

    refs: tuple[Any, ...]
    deadline_s: float | None = None


Life = Generator[Await, Any, Any]


class Lane:
    """One engine, from its place to its end, for the cells of one ``engine_key``."""

    def __init__(
        self,
        lane_id: str,
        cell: Cell,
        need: Need,
        settings: ClusterSettings,
        *,
        node: str | None,
        exclude: Collection[str],
        after: Collection["Lane"],
        unplaced: Callable[[], str],
    ) -> None:
        """A lane whose first cell is ``cell``.

        Args:
            lane_id: names it.
            cell: whose engine it starts, and which it runs first.
            need: what it takes.
            settings: its timeouts.
            node: where it goes; None leaves that to Ray, but for nodes of ``exclude``.
            exclude: see ``node``.
            after: lanes that must be gone first.
            unplaced: why there may be no place, asked when none was found.
        """
        self.need = need
        self.key = cell.engine_key
        self.state: State = "placing"
        self.node = node
        self.record = LaneRecord(lane_id=lane_id, engine_key=self.key, node=node, started_unix_s=unix_now_s())
        self.outcomes: list[Outcome] = []
        self.start_error: JoulegridError | None = None
        self.end_error: JoulegridError | None = None
        self._settings = settings
        self._exclude = tuple(exclude)
        self._after = tuple(after)
        self._unplaced = unplaced
        self._cell: Cell | None = cell
        self._cell_started_unix_s = unix_now_s()
        self._asked_to_end: str | None = None
        self._actors: LaneActors | None = None
        self._engine_lost = False
        self._watch: Any = None
        self._started = EngineStart()
        self._life = self._live()
        self.awaiting: Await = next(self._life)

    @property
    def lane_id(self) -> str:
        """Its name."""
        return self.record.lane_id

    def give(self, cell: Cell) -> None:
        """Run a cell of its key; the lane is idle."""
        self._cell, self._cell_started_unix_s = cell, unix_now_s()
        self.advance(None)

    def end(self, why: str) -> None:
        """Tear it down: at once where it is idle, with the cell in flight lost otherwise."""
        if self.state in ("closing", "gone"):
            return
        self._asked_to_end = why
        if self.state == "idle":
            self.advance(None)
        else:
            self._proceed(lambda: self._life.throw(InfrastructureError(why)))

    def abandon(self) -> None:
        """Kill its actors without waiting for anything."""
        self._life.close()
        if self._actors is not None:
            self._actors.remove()
        self._tell(ended_unix_s=unix_now_s(), end=f"{self._why()}; killed before it had closed")
        self.state = "gone"

    def advance(self, ready: Any) -> None:
        """Go on with the reference that is ready, or None: the time is up, or there is something to do."""
        self._proceed(lambda: self._life.send(ready))

    def _proceed(self, step: Callable[[], Await]) -> None:
        try:
            self.awaiting = step()
        except StopIteration:
            self.awaiting = Await(())
            self.state = "gone"

    def _live(self) -> Life:
        try:
            yield from self._begun()
            yield from self._serving()
        except JoulegridError as error:
            self._ended(error)
        yield from self._torn_down()

    def _begun(self) -> Life:
        try:
            yield from self._placed()
            yield from self._loaded()
        except JoulegridError as error:
            self.start_error = error
            raise

    def _placed(self) -> Life:
        while any(lane.state != "gone" for lane in self._after):
            yield Await((), time.monotonic() + _LOOK_EVERY_S)
        self._actors = actors = place(self.need, self.node, self._exclude)
        hellos = actors.engine.hello.remote(), actors.collector.hello.remote()
        deadline_s = time.monotonic() + self._settings.placement_timeout_s
        engine, collector = (
            (yield from self._hello(hellos[0], deadline_s)),
            (yield from self._hello(hellos[1], deadline_s)),
        )
        self.node = engine.node
        self._name(engine)
        attached = actors.collector.attach.remote(engine, collector.node)
        devices = yield from self._value(attached, deadline_s)
        clock = yield from self._value(actors.collector.clock.remote(), deadline_s)
        self._tell(devices=devices, clock=clock)

    def _hello(self, ref: Any, deadline_s: float) -> Generator[Await, Any, Hello]:
        hello: Hello = yield from self._value(ref, deadline_s)
        check_version(hello)
        return hello

    def _name(self, engine: Hello) -> None:
        self.record = self.record.model_copy(update={"node": engine.node, "host": engine.host})

    def _value(self, ref: Any, deadline_s: float) -> Life:
        """An answer before the engine is watched."""
        ready = yield Await((ref,), deadline_s)
        if ready is None:
            raise InfrastructureError(self._unplaced())
        try:
            return value_of(ref)
        except ActorLost as error:
            raise InfrastructureError(f"an actor of the lane on {self._where} was lost: {error}") from error

    def _loaded(self) -> Life:
        self.state = "starting"
        actors = self._there
        self._watch = actors.collector.watch.remote()
        begun_s = time.monotonic()
        timeout_s = self._settings.engine_start_timeout_s
        self._started = yield from self._watched(actors.engine.start.remote(self._cell), begun_s + timeout_s)
        devices = self._started.devices or self.record.devices
        provenance = dict(self._started.provenance)
        self._tell(engine_start_s=time.monotonic() - begun_s, provenance=provenance, devices=devices)

    def _serving(self) -> Life:
        while self._asked_to_end is None:
            if self._cell is None:
                self.state = "idle"
                if (yield Await((self._watch,))) is not None:
                    yield from self._lost("the lane was idle")
            else:
                self.state = "running"
                yield from self._one_cell(self._cell)

    def _one_cell(self, cell: Cell) -> Life:
        try:
            result = yield from self._watched(self._run(cell), None)
        except InfrastructureError:
            raise
        except JoulegridError as error:  # the cell's own: its requests are aborted when the next one begins
            result = error
        self._settle(result)

    def _run(self, cell: Cell) -> Any:
        if cell.workflow.executor == "ray":
            return self._there.conduct().run.remote(cell, dict(self._started.provenance))
        return self._there.engine.run.remote(cell)

    def _watched(self, ref: Any, deadline_s: float | None) -> Life:
        """An answer, or why the engine can give none."""
        ready = yield Await((ref, self._watch), deadline_s)
        if ready is None:
            self._engine_lost = True
            raise InfrastructureError(
                f"the engine on {self._where} did not start in {self._settings.engine_start_timeout_s:g} s "
                "(cluster.engine_start_timeout_s)"
            )
        try:
            if ready is ref:
                return value_of(ref)
            told = "its collector says so"
        except ActorLost as error:
            told = str(error)
        yield from self._lost(told)

    def _lost(self, told: str) -> Life:
        """Raise why the engine's actor, or all of the node's, cannot be reached; ``told`` is what Ray says."""
        self._engine_lost = True
        ready = yield Await((self._watch,), time.monotonic() + _CAUSE_TIMEOUT_S)
        if ready is None:
            raise InfrastructureError(f"an actor of the lane on {self._where} was lost: {told}")
        try:
            raise InfrastructureError(str(value_of(self._watch)))
        except ActorLost as error:
            raise InfrastructureError(
                f"node {self.node} ({self._where}) was lost, its raylet or all of it, and every actor there: {error}"
            ) from error

    def _torn_down(self) -> Life:
        """Close the engine, kill it, wait for its memory, give its place back: in this order."""
        self.state = "closing"
        if self._actors is not None:
            yield from self._closed(self._actors)
            self._actors.remove()
        self._tell(ended_unix_s=unix_now_s(), end=self._why())

    def _closed(self, actors: LaneActors) -> Life:
        timeout_s = self._settings.teardown_timeout_s
        if self._watch is not None and not self._engine_lost:
            yield Await((actors.engine.close.remote(),), time.monotonic() + timeout_s)
        actors.kill_engine()
        settled = actors.collector.settle.remote(timeout_s)
        ready = yield Await((settled,), time.monotonic() + 2 * timeout_s)
        try:
            if ready is not None:
                value_of(ready)
        except JoulegridError as error:
            self.end_error = error
        except ActorLost:  # its node is gone, and what was there ends by itself
            return

    def _ended(self, error: JoulegridError) -> None:
        self._asked_to_end = self._asked_to_end or str(error)
        if self._cell is not None:
            self._settle(error)

    def _settle(self, result: CellResult | JoulegridError) -> None:
        cell, self._cell = self._cell, None
        if cell is None:
            raise AssertionError("no cell is in flight")
        failed = isinstance(result, JoulegridError)
        self.outcomes.append(
            Outcome(
                cell=cell,
                host=self._where,
                node=self.node,
                lane=self.lane_id,
                started_unix_s=self._cell_started_unix_s,
                ended_unix_s=unix_now_s(),
                result=None if isinstance(result, JoulegridError) else result,
                error=result if isinstance(result, JoulegridError) else None,
            )
        )
        if not failed:
            self.record = self.record.model_copy(update={"n_cells": self.record.n_cells + 1})

    def _why(self) -> str:
        told = self._asked_to_end or "it was closed"
        return told if self.end_error is None else f"{told}; {self.end_error}"

    def _tell(self, **fields: Any) -> None:
        self.record = self.record.model_copy(update=fields)

    @property
    def _where(self) -> str:
        return self.record.host or self.node or "no node yet"

    @property
    def _there(self) -> LaneActors:
        if self._actors is None:
            raise AssertionError("the lane is not placed")
        return self._actors
