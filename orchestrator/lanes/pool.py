"""Pool: the controller of the lanes. It reads the cluster, carries out the policy's decisions and reports outcomes."""

import secrets
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from orchestrator.lanes.engine_handle import EngineHandle
from orchestrator.lanes.lane import Lane
from orchestrator.lanes.placement import ClusterView
from orchestrator.lanes.policy import (
    AssignCell,
    Decision,
    LanePolicy,
    PoolView,
    ReadCluster,
    RefuseCell,
    StartLane,
    quarantine_after,
    quarantine_warnings,
)
from orchestrator.lanes.quarantine import EngineStarted, LaneEvent, Quarantine
from orchestrator.lanes.turns import Wait
from orchestrator.ray_runtime.cluster import Node, RayCluster
from orchestrator.records.provenance import unix_now_s
from orchestrator.records.record import LaneRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings
from orchestrator.sweep.executor import Outcome

_WAIT_S = 0.2
_GRACE_S = 2.5  # part of the time to close after which an engine is killed


class LanePool:
    """Starts, advances and closes the lanes of a sweep on one cluster, as `LanePolicy` decides."""

    def __init__(
        self,
        cluster: RayCluster,
        settings: ClusterSettings,
        *,
        block_of: Callable[[Cell], Hashable],
        max_attempts: int,
        warn: Callable[[str], None],
    ) -> None:
        """Create a pool without lanes.

        Args:
            cluster: where lanes are placed.
            settings: its address, number of lanes and timeouts.
            block_of: groups cells; a cell of a later block starts only if none of an earlier block can start now.
            max_attempts: failures on one node after which an engine is given up.
            warn: called with one line for each node that is no longer used.
        """
        self._cluster = cluster
        self._settings = settings
        self._warn = warn
        self._policy = LanePolicy(settings, block_of)
        self._quarantine = Quarantine(max_attempts=max_attempts)
        self._lanes: dict[str, Lane] = {}
        self._decision: Decision = Wait()
        self._refused: list[Outcome] = []
        self._records: dict[str, LaneRecord] = {}
        self._changed_records: dict[str, LaneRecord] = {}
        self._warned: set[str] = set()
        self._any_placed = False

    @property
    def is_empty(self) -> bool:
        """Whether there is no lane at all."""
        return not self._lanes

    def choose(self, queue: Sequence[Cell]) -> int | None:
        """Return the index of the cell to submit now: to run, or to be refused; None to wait.

        Raises:
            EnvironmentFailure: a lane is needed and no node can be used.
        """
        view = self._view()
        decision = self._policy.decide(queue, view)
        if isinstance(decision, ReadCluster):
            decision = self._policy.decide(queue, replace(view, cluster=self._read_cluster()))
        self._decision = decision
        return None if isinstance(decision, ReadCluster | Wait) else decision.index

    def submit(self, cell: Cell) -> None:
        """Carry out the last decision, with the cell that it chose."""
        decision, self._decision = self._decision, Wait()
        match decision:
            case RefuseCell():
                now_s = unix_now_s()
                self._refused.append(
                    Outcome(cell=cell, host="none", started_unix_s=now_s, ended_unix_s=now_s, error=decision.error)
                )
            case AssignCell():
                self._lanes[decision.lane_id].give(cell)
            case StartLane():
                self._start(cell, decision)
            case _:
                raise AssertionError("choose comes before submit")

    def close_idle(self) -> None:
        """Close every idle lane."""
        for lane in self._lanes.values():
            if lane.state == "idle":
                lane.close("its place was needed for cells in virtual time")

    def refs(self) -> Sequence[Any]:
        """Return the Ray references that lanes wait for."""
        return [ref for lane in self._lanes.values() for ref in lane.waiting_for.refs]

    def take(self, ready: Collection[Any]) -> list[Outcome]:
        """Advance every lane with a reference in ``ready`` or a passed deadline; return the cells that ended.

        Raises:
            EnvironmentFailure: the first lane could not be placed, or a node runs another version of Joulegrid.
        """
        now_s = time.monotonic()
        for lane in tuple(self._lanes.values()):
            due = [ref for ref in lane.waiting_for.refs if ref in ready]
            is_late = lane.waiting_for.deadline_s is not None and now_s >= lane.waiting_for.deadline_s
            if due or is_late:
                lane.advance(due[0] if due else None)
            self._update(lane)
        outcomes, self._refused = self._refused, []
        for lane in tuple(self._lanes.values()):
            outcomes += lane.outcomes
            lane.outcomes.clear()
            if lane.state == "gone":
                del self._lanes[lane.lane_id]
        return outcomes

    def records(self) -> Sequence[LaneRecord]:
        """Return the records that are new or have changed since the last call."""
        records, self._changed_records = tuple(self._changed_records.values()), {}
        return records

    def close(self, timeout_s: float) -> None:
        """Close every lane: engines that do not close by themselves in part of the time are killed."""
        begin_s = time.monotonic()
        for lane in self._lanes.values():
            lane.close("the sweep ended")
        self._take_until(begin_s + min(_GRACE_S, timeout_s))
        for lane in self._lanes.values():
            lane.kill_engine()
        self._take_until(begin_s + timeout_s)
        for lane in self._lanes.values():
            lane.abandon()
            self._update(lane)
        self._lanes.clear()

    def _take_until(self, deadline_s: float) -> None:
        """Advance the lanes until all are gone or the deadline has passed."""
        import ray

        while self._lanes and (left_s := deadline_s - time.monotonic()) > 0:
            if refs := self.refs():
                self.take(ray.wait(refs, num_returns=1, timeout=min(left_s, _WAIT_S))[0])
            else:
                time.sleep(min(left_s, _WAIT_S))
                self.take(())

    def _view(self) -> PoolView:
        """Return the view without the cluster, which costs calls to Ray and is often not needed."""
        return PoolView(
            lanes=tuple(lane.view() for lane in self._lanes.values()),
            quarantine=self._quarantine,
            fixed_nodes=self._local_nodes if self._settings.address == "local" else None,
        )

    @cached_property
    def _local_nodes(self) -> tuple[Node, ...]:
        return tuple(self._cluster.nodes())

    def _read_cluster(self) -> ClusterView:
        return ClusterView(nodes=tuple(self._cluster.nodes()), free=self._cluster.free())

    def _start(self, cell: Cell, decision: StartLane) -> None:
        closing = [self._lanes[lane_id] for lane_id in decision.close]
        for lane in closing:
            lane.close("its place was needed for another engine")
        lane_id = f"{cell.engine_key}-{secrets.token_hex(3)}"
        self._lanes[lane_id] = Lane(
            cell,
            decision.request,
            EngineHandle(lane_id, self._settings, decision.node),
            exclude=decision.exclude,
            after=closing,
            timeout_text=lambda: self._policy.timeout_text(cell, self._quarantine, self._read_cluster()),
        )

    def _update(self, lane: Lane) -> None:
        """Take what happened to a lane into the quarantine, and keep its record."""
        self._any_placed = self._any_placed or lane.was_placed
        events, lane.events = lane.events, []
        for event in events:
            self._update_quarantine(event)
        record = lane.record()
        if lane.was_placed and self._records.get(lane.lane_id) != record:
            self._records[lane.lane_id] = self._changed_records[lane.lane_id] = record

    def _update_quarantine(self, event: LaneEvent) -> None:
        before = self._quarantine
        self._quarantine = quarantine_after(before, event, any_placed=self._any_placed)
        if isinstance(event, EngineStarted) or self._quarantine == before:
            return
        for line in quarantine_warnings(self._quarantine, self._cluster.nodes()):
            if line not in self._warned:
                self._warned.add(line)
                self._warn(line)
