"""A lane as the driver sees it: placed, started, given cells one after the other, torn down."""

import time
from collections.abc import Callable, Collection
from typing import Literal

from orchestrator.errors import EnvironmentFailure, InfrastructureError, JoulegridError, LimitsRefused
from orchestrator.lanes.actors import Await, Steps
from orchestrator.lanes.engine_handle import HeldEngine
from orchestrator.lanes.placement import Need
from orchestrator.records.provenance import unix_now_s
from orchestrator.records.record import CellResult, LaneRecord
from orchestrator.spec.cell import Cell
from orchestrator.sweep.executor import Outcome

State = Literal["placing", "starting", "idle", "running", "closing", "gone"]

_LOOK_EVERY_S = 0.1


class Lane:
    """One engine, from its place to its end, for the cells of one ``engine_key``. Nothing here blocks.

    ``start_error`` says why the engine did not start, ``end_error`` what did not go when it was closed, and ``refusal``
    why a cell may not set the GPUs here; the lane goes on without such cells.
    """

    def __init__(
        self,
        cell: Cell,
        need: Need,
        engine: HeldEngine,
        *,
        exclude: Collection[str],
        after: Collection["Lane"],
        unplaced: Callable[[], str],
    ) -> None:
        """A lane that starts with ``cell``, once the lanes ``after`` which it comes are gone.

        ``exclude`` and ``unplaced`` are those of `HeldEngine.placed`.
        """
        self.lane_id = engine.lane_id
        self.key = cell.engine_key
        self.need = need
        self.state: State = "placing"
        self.outcomes: list[Outcome] = []
        self.start_error: JoulegridError | None = None
        self.end_error: JoulegridError | None = None
        self.refusal: LimitsRefused | None = None
        self._engine = engine
        self._cell: Cell | None = cell
        self._started_unix_s = self._cell_started_unix_s = unix_now_s()
        self._ended_unix_s: float | None = None
        self._end: str | None = None
        self._n_cells = 0
        self._life = self._live(cell, tuple(exclude), tuple(after), unplaced)
        self.awaiting: Await = next(self._life)

    @property
    def node(self) -> str | None:
        """The node it is on, or is to be on; None while only Ray knows."""
        return self._engine.node

    @property
    def found_no_place(self) -> bool:
        """Whether Ray found no place for it in time."""
        return self._engine.found_no_place

    @property
    def was_placed(self) -> bool:
        """Whether its actors have answered."""
        return self._engine.host is not None

    def record(self) -> LaneRecord:
        """What is known of it now."""
        engine = self._engine
        return LaneRecord(
            lane_id=self.lane_id,
            engine_key=self.key,
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
            end=None if self._ended_unix_s is None else self._why(),
            n_cells=self._n_cells,
        )

    def give(self, cell: Cell) -> None:
        """Run a cell of its key; the lane is idle."""
        self._cell, self._cell_started_unix_s = cell, unix_now_s()
        self.advance(None)

    def end(self, why: str) -> None:
        """Tear it down: at once where it is idle, with the cell in flight lost otherwise."""
        if self.state in ("closing", "gone"):
            return
        self._end = why
        if self.state == "idle":
            self.advance(None)
        else:
            self._proceed(lambda: self._life.throw(InfrastructureError(why)))

    def cut_short(self) -> None:
        """Wait no longer for the engine to close by itself: kill what is left of it."""
        if self._engine.is_closing:
            self.advance(None)

    def abandon(self) -> None:
        """Kill its actors without waiting for anything."""
        self._life.close()
        self._engine.abandon()
        self._ended_unix_s, self.state = unix_now_s(), "gone"

    def advance(self, ready: object) -> None:
        """Go on with the reference that is ready; None: the time is up, or there is something to do."""
        self._proceed(lambda: self._life.send(ready))

    def _proceed(self, step: Callable[[], Await]) -> None:
        try:
            self.awaiting = step()
        except StopIteration:
            self.awaiting = Await(())
            self._ended_unix_s, self.state = unix_now_s(), "gone"

    def _live(
        self, cell: Cell, exclude: tuple[str, ...], after: tuple["Lane", ...], unplaced: Callable[[], str]
    ) -> Steps:
        try:
            while any(lane.state != "gone" for lane in after):
                yield Await((), time.monotonic() + _LOOK_EVERY_S)
            self._check_emptied(after)
            yield from self._begun(cell, exclude, unplaced)
            yield from self._serving()
        except JoulegridError as error:
            self._end = self._end or str(error)
            if self._cell is not None:
                self._settle(self._cell, _of_attempt(error))
        self.state = "closing"
        try:
            yield from self._engine.closed()
        except JoulegridError as error:
            self.end_error = error

    def _check_emptied(self, after: Collection["Lane"]) -> None:
        """Go nowhere where a lane before left something behind."""
        left = [str(lane.end_error) for lane in after if lane.end_error and self.node in (lane.node, None)]
        if left:
            raise InfrastructureError("; ".join(left))

    def _begun(self, cell: Cell, exclude: tuple[str, ...], unplaced: Callable[[], str]) -> Steps:
        try:
            yield from self._engine.placed(self.need, exclude, unplaced, _gpu_of(cell, self.need))
            self.state = "starting"
            yield from self._engine.loaded(cell)
        except JoulegridError as error:
            self.start_error = None if self._end else error
            raise

    def _serving(self) -> Steps:
        while self._end is None:
            if self._cell is None:
                self.state = "idle"
                yield from self._engine.idle()
            else:
                self.state = "running"
                yield from self._one(self._cell)

    def _one(self, cell: Cell) -> Steps:
        self._n_cells += 1
        try:
            result = yield from self._engine.run(cell)
        except InfrastructureError:
            raise
        except LimitsRefused as error:
            self.refusal, result = error, _of_attempt(error)
        except JoulegridError as error:
            result = error
        self._settle(cell, result)

    def _settle(self, cell: Cell, result: CellResult | JoulegridError) -> None:
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

    def _why(self) -> str:
        told = self._end or "it was killed before it had closed"
        return told if self.end_error is None else f"{told}; {self.end_error}"


def _of_attempt(error: JoulegridError) -> JoulegridError:
    """A node that is not usable is no fault of the cell, which may run on another."""
    return InfrastructureError(str(error)) if isinstance(error, EnvironmentFailure) else error


def _gpu_of(cell: Cell, need: Need) -> str | None:
    return cell.hardware.name if need.num_gpus else None
