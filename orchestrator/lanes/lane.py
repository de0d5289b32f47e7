"""Lane: one engine from its placement to its end, as the driver sees it."""

import time
from collections.abc import Callable, Collection
from typing import Literal

from orchestrator.errors import EnvironmentFailure, InfrastructureError, JoulegridError, LimitsRefused
from orchestrator.lanes.actors import Steps, WaitFor
from orchestrator.lanes.engine_handle import EngineHandle
from orchestrator.lanes.placement import LaneView, PlacementRequest
from orchestrator.lanes.quarantine import EngineStarted, LaneEvent, LimitsNotSet, NotReleased, StartFailed
from orchestrator.records.provenance import unix_now_s
from orchestrator.records.record import CellResult, LaneRecord
from orchestrator.spec.cell import Cell
from orchestrator.sweep.executor import Outcome

State = Literal["placing", "starting", "idle", "running", "closing", "gone"]

_POLL_S = 0.1


class Lane:
    """One engine that runs the cells of one ``engine_key``, one after the other. Nothing here blocks.

    A lane is a generator of steps: `advance` continues it when a reference of ``waiting_for`` is ready or its deadline
    has passed. The pool takes ``outcomes`` and ``events`` and clears them.
    """

    def __init__(
        self,
        cell: Cell,
        request: PlacementRequest,
        engine: EngineHandle,
        *,
        exclude: Collection[str],
        after: Collection["Lane"],
        timeout_text: Callable[[], str],
    ) -> None:
        """Start with ``cell``, once the lanes ``after`` are gone.

        ``exclude`` and ``timeout_text`` are those of `EngineHandle.placed`.
        """
        self.lane_id = engine.lane_id
        self.engine_key = cell.engine_key
        self.state: State = "placing"
        self.outcomes: list[Outcome] = []
        self.events: list[LaneEvent] = []
        self._request = request
        self._engine = engine
        self._cell: Cell | None = cell
        self._started_unix_s = self._cell_started_unix_s = unix_now_s()
        self._ended_unix_s: float | None = None
        self._end_reason: str | None = None
        self._end_error: JoulegridError | None = None
        self._has_started = False
        self._n_cells = 0
        self._life = self._live(cell, tuple(exclude), tuple(after), timeout_text)
        self.waiting_for: WaitFor = next(self._life)

    @property
    def node(self) -> str | None:
        """The node it is or will be on; None until Ray has chosen it."""
        return self._engine.node

    @property
    def was_placed(self) -> bool:
        """Whether its actors have answered."""
        return self._engine.host is not None

    def view(self) -> LaneView:
        """Return what the policy needs of it."""
        return LaneView(
            lane_id=self.lane_id,
            engine_key=self.engine_key,
            request=self._request,
            node=self.node,
            idle=self.state == "idle",
        )

    def record(self) -> LaneRecord:
        """Return the record of the lane as it stands."""
        engine, has_ended = self._engine, self._ended_unix_s is not None
        return LaneRecord(
            lane_id=self.lane_id,
            engine_key=self.engine_key,
            node=engine.node,
            host=engine.host,
            devices=engine.devices,
            provenance=dict(engine.start.provenance),
            started_unix_s=self._started_unix_s,
            clock=engine.clock,
            engine_start_s=engine.start_s,
            bare_idle_power_w=engine.bare_idle_power_w,
            engine_start_energy_j=engine.start_energy_j,
            loaded_idle_power_w=engine.loaded_idle_power_w,
            ended_unix_s=self._ended_unix_s,
            end=self._end_text() if has_ended else None,
            n_cells=self._n_cells,
        )

    def give(self, cell: Cell) -> None:
        """Run a cell of its key; the lane must be idle."""
        self._cell, self._cell_started_unix_s = cell, unix_now_s()
        self.advance(None)

    def close(self, reason: str) -> None:
        """Begin to tear it down; the cell in flight, if any, is lost."""
        if self.state in ("closing", "gone"):
            return
        self._end_reason = reason
        if self.state == "idle":
            self.advance(None)
        else:
            self._continue(lambda: self._life.throw(InfrastructureError(reason)))

    def kill_engine(self) -> None:
        """Stop waiting for the engine to close by itself and kill it."""
        if self._engine.is_closing:
            self.advance(None)

    def abandon(self) -> None:
        """Kill its actors without waiting for anything."""
        self._life.close()
        self._engine.abandon()
        self._ended_unix_s, self.state = unix_now_s(), "gone"

    def advance(self, ready: object) -> None:
        """Continue with the reference that is ready; None if the deadline has passed or there is something to do."""
        self._continue(lambda: self._life.send(ready))

    def _continue(self, step: Callable[[], WaitFor]) -> None:
        try:
            self.waiting_for = step()
        except StopIteration:
            self.waiting_for = WaitFor(())
            self._ended_unix_s, self.state = unix_now_s(), "gone"
        if self._engine.start_s is not None and not self._has_started:
            self._has_started = True
            self.events.append(EngineStarted(engine_key=self.engine_key, node=self.node))

    def _live(
        self, cell: Cell, exclude: tuple[str, ...], after: tuple["Lane", ...], timeout_text: Callable[[], str]
    ) -> Steps:
        try:
            while any(lane.state != "gone" for lane in after):
                yield WaitFor((), time.monotonic() + _POLL_S)
            self._check_released(after)
            yield from self._start(cell, exclude, timeout_text)
            yield from self._serve()
        except JoulegridError as error:
            self._end_reason = self._end_reason or str(error)
            if self._cell is not None:
                self._finish(self._cell, _retryable(error))
        self.state = "closing"
        try:
            yield from self._engine.closed()
        except JoulegridError as error:
            self._end_error = error
            self.events.append(NotReleased(node=self.node, error=error))

    def _check_released(self, after: Collection["Lane"]) -> None:
        """Raise if a lane before this one left something behind on its node."""
        errors = [str(lane._end_error) for lane in after if lane._end_error and self.node in (lane.node, None)]
        if errors:
            raise InfrastructureError("; ".join(errors))

    def _start(self, cell: Cell, exclude: tuple[str, ...], timeout_text: Callable[[], str]) -> Steps:
        gpu = cell.hardware.name if self._request.num_gpus else None
        try:
            yield from self._engine.placed(self._request, exclude, timeout_text, gpu)
            self.state = "starting"
            yield from self._engine.loaded(cell)
        except JoulegridError as error:
            if self._end_reason is None:
                self.events.append(
                    StartFailed(
                        engine_key=self.engine_key,
                        node=self.node,
                        error=error,
                        was_placed=self.was_placed,
                        found_no_place=self._engine.found_no_place,
                    )
                )
            raise

    def _serve(self) -> Steps:
        while self._end_reason is None:
            if self._cell is None:
                self.state = "idle"
                yield from self._engine.idle()
            else:
                self.state = "running"
                yield from self._run(self._cell)

    def _run(self, cell: Cell) -> Steps:
        self._n_cells += 1
        try:
            result = yield from self._engine.run(cell)
        except InfrastructureError:
            raise
        except LimitsRefused as error:
            result = _retryable(error)
            self.events.append(LimitsNotSet(node=self.node, error=error))
        except JoulegridError as error:
            result = error
        self._finish(cell, result)

    def _finish(self, cell: Cell, result: CellResult | JoulegridError) -> None:
        self._cell = None
        self.outcomes.append(
            Outcome(
                cell=cell,
                host=self._engine.host or "none",
                node=self.node,
                lane=self.lane_id if self.was_placed else None,
                started_unix_s=self._cell_started_unix_s,
                ended_unix_s=unix_now_s(),
                result=None if isinstance(result, JoulegridError) else result,
                error=result if isinstance(result, JoulegridError) else None,
            )
        )

    def _end_text(self) -> str:
        reason = self._end_reason or "it was killed before it had closed"
        return reason if self._end_error is None else f"{reason}; {self._end_error}"


def _retryable(error: JoulegridError) -> JoulegridError:
    """Return an error after which the cell is tried again on another node, if the fault is this node's."""
    return InfrastructureError(str(error)) if isinstance(error, EnvironmentFailure) else error
