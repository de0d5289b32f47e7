"""The lanes of a sweep: opened as cells need them, kept from cell to cell, ended when their place is needed."""

import secrets
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from orchestrator.errors import CellError, EnvironmentFailure, JoulegridError, LimitsRefused
from orchestrator.lanes import placement
from orchestrator.lanes.dispatch import Choice, choose
from orchestrator.lanes.engine_handle import HeldEngine
from orchestrator.lanes.lane import Lane
from orchestrator.lanes.placement import CPUS, Held, Need, Place, Room, need_of, places_of, room_for, sets_gpus
from orchestrator.lanes.quarantine import Quarantine
from orchestrator.ray_runtime.cluster import RayCluster
from orchestrator.records.provenance import unix_now_s
from orchestrator.records.record import LaneRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings
from orchestrator.sweep.executor import Outcome

_WAIT_S = 0.2
_GRACE_S = 2.5  # of the time to close: an engine that needs longer is killed


class LanePool:
    """Lanes on one cluster."""

    def __init__(
        self,
        cluster: RayCluster,
        settings: ClusterSettings,
        *,
        block_of: Callable[[Cell], Hashable],
        max_attempts: int,
        warn: Callable[[str], None],
    ) -> None:
        """``block_of`` says which cells may be taken before others; ``warn`` is told of quarantined nodes."""
        self._cluster = cluster
        self._settings = settings
        self._block_of = block_of
        self._warn = warn
        self._quarantine = Quarantine(max_attempts)
        self._lanes: dict[str, Lane] = {}
        self._choice: Choice | None = None
        self._refused: list[Outcome] = []
        self._kept: dict[str, LaneRecord] = {}
        self._changed: dict[str, LaneRecord] = {}
        self._told: set[tuple[str, str]] = set()
        self._sizes: dict[str, CellError | None] = {}
        self._any_placed = False

    @property
    def is_empty(self) -> bool:
        """Whether there is no lane at all."""
        return not self._lanes

    def choose(self, queue: Sequence[Cell]) -> int | None:
        """Index of the cell a lane takes now; also that of one whose engine cannot start, to be refused.

        Raises:
            EnvironmentFailure: a lane is needed, and no node is left.
        """
        for index, cell in enumerate(queue):
            if self._refusal(cell) is not None:
                self._choice = Choice(index=index)
                return index
        held = [self._held(lane) for lane in self._lanes.values()]
        find_room = self._room_finder(held)
        self._choice = choose(queue, held, block_of=self._block_of, find_room=find_room)
        if self._choice is None and queue and all(lane.idle for lane in held):
            self._check_nodes(queue[0])
            self._choice = Choice(index=0)  # it fits nowhere as things are: a node may come, or nobody knows better
        return None if self._choice is None else self._choice.index

    def submit(self, cell: Cell) -> None:
        """Start the cell chosen last."""
        choice, self._choice = self._choice, None
        if choice is None:
            raise AssertionError("choose comes before submit")
        refusal = self._refusal(cell)
        if refusal is not None:
            now_s = unix_now_s()
            refused = Outcome(cell=cell, host="none", started_unix_s=now_s, ended_unix_s=now_s, error=refusal)
            self._refused.append(refused)
        elif choice.lane_id is not None:
            self._lanes[choice.lane_id].give(cell)
        else:
            self._open(cell, choice.room)

    def end_idle(self) -> None:
        """Give back the place of every lane that has nothing to do."""
        for lane in self._lanes.values():
            if lane.state == "idle":
                lane.end("its place was needed for cells in virtual time")

    def refs(self) -> Sequence[Any]:
        """What is waited for."""
        return [ref for lane in self._lanes.values() for ref in lane.awaiting.refs]

    def take(self, ready: Collection[Any]) -> list[Outcome]:
        """Go on with every lane that something came for, or whose time is up.

        Raises:
            EnvironmentFailure: not one lane could be placed, or a node runs another Joulegrid.
        """
        now_s = time.monotonic()
        for lane in tuple(self._lanes.values()):
            due = [ref for ref in lane.awaiting.refs if ref in ready]
            late = lane.awaiting.deadline_s is not None and now_s >= lane.awaiting.deadline_s
            if due or late:
                lane.advance(due[0] if due else None)
            self._note(lane)
        outcomes, self._refused = self._refused, []
        for lane in tuple(self._lanes.values()):
            outcomes += lane.outcomes
            lane.outcomes.clear()
            if lane.state == "gone":
                del self._lanes[lane.lane_id]
        return outcomes

    def records(self) -> Sequence[LaneRecord]:
        """Records that are new or have changed since the last call."""
        found, self._changed = tuple(self._changed.values()), {}
        return found

    def close(self, timeout_s: float) -> None:
        """End every lane; an engine gets a part of the time to close by itself, then it is killed."""
        begun_s = time.monotonic()
        for lane in self._lanes.values():
            lane.end("the sweep ended")
        self._await_end(begun_s + min(_GRACE_S, timeout_s))
        for lane in self._lanes.values():
            lane.cut_short()
        self._await_end(begun_s + timeout_s)
        for lane in self._lanes.values():
            lane.abandon()
            self._note(lane)
        self._lanes.clear()

    def _await_end(self, deadline_s: float) -> None:
        import ray

        while self._lanes and (left_s := deadline_s - time.monotonic()) > 0:
            if refs := self.refs():
                self.take(ray.wait(refs, num_returns=1, timeout=min(left_s, _WAIT_S))[0])
            else:
                time.sleep(min(left_s, _WAIT_S))
                self.take(())

    def _refusal(self, cell: Cell) -> CellError | None:
        """Why no lane is made for a cell."""
        return self._quarantine.doomed(cell.engine_key) or self._too_large(cell)

    def _too_large(self, cell: Cell) -> CellError | None:
        """What a Ray of our own has does not change; to any other a node may come."""
        if self._settings.address != "local":
            return None
        key = cell.engine_key
        if key not in self._sizes:
            self._sizes[key] = placement.too_large(self._need_of(cell), self._cluster.nodes())
        return self._sizes[key]

    def _check_nodes(self, cell: Cell) -> None:
        error = placement.none_left(self._need_of(cell), self._cluster.nodes(), self._barred(sets_gpus(cell)))
        if error is not None:
            raise error

    def _open(self, cell: Cell, room: Room | None) -> None:
        held = self._lanes.values()
        ends = [lane for lane in held if lane.lane_id in room.ends] if room else [*held]
        for lane in ends:
            lane.end("its place was needed for another engine")
        lane_id = f"{cell.engine_key}-{secrets.token_hex(3)}"
        lane = Lane(
            cell,
            self._need_of(cell),
            HeldEngine(lane_id, self._settings, room.node if room else None),
            exclude=self._barred(sets_gpus(cell)),
            after=ends,
            unplaced=lambda: self._placement_causes(cell),
        )
        self._lanes[lane_id] = lane

    def _note(self, lane: Lane) -> None:
        """Learn from how a lane started and ended, and keep its record."""
        self._any_placed = self._any_placed or lane.was_placed
        if lane.start_error is not None:
            error, lane.start_error = lane.start_error, None
            self._start_failed(lane, error)
        if lane.refusal is not None and lane.node is not None:
            self._quarantine.refused(lane.node, str(lane.refusal))
            lane.refusal = None
            self._tell()
        if lane.end_error is not None and lane.state == "gone" and lane.node is not None:
            self._quarantine.held(lane.node, str(lane.end_error))
            self._tell()
        record, before = lane.record(), self._kept.get(lane.lane_id)
        has_started = before is not None and before.engine_start_s is not None
        if record.engine_start_s is not None and lane.node is not None and not has_started:
            self._quarantine.started(lane.key, lane.node)
        if lane.was_placed and before != record:
            self._kept[lane.lane_id] = self._changed[lane.lane_id] = record

    def _start_failed(self, lane: Lane, error: JoulegridError) -> None:
        is_environment = isinstance(error, EnvironmentFailure) or not lane.was_placed
        if is_environment and not self._any_placed:  # mended best at once; hours into a sweep a node is only not used
            raise EnvironmentFailure(str(error)) from error
        if lane.found_no_place or lane.node is None:
            return  # nothing is known of the engine; how often a cell is tried bounds this
        if isinstance(error, LimitsRefused):
            self._quarantine.refused(lane.node, str(error))
        elif isinstance(error, EnvironmentFailure):
            self._quarantine.held(lane.node, str(error))
        else:
            self._quarantine.failed(lane.key, lane.node, error)
        self._tell()

    def _tell(self) -> None:
        """Warn of nodes that are used no more, or not for all cells, once of each."""
        told = [(node, f"no lane any more: {why}") for node, why in self._faulty().items()]
        told += [(node, f"no cell with a limit or clock any more: {why}") for node, why in self._refusing.items()]
        for node, what in told:
            if (node, what) not in self._told:
                self._told.add((node, what))
                self._warn(f"node {node} gets {what}")

    @property
    def _refusing(self) -> Mapping[str, str]:
        return self._quarantine.refusing()

    def _barred(self, sets: bool) -> Mapping[str, str]:
        """Nodes that are not used, or not for cells that set their GPUs."""
        return {**(self._refusing if sets else {}), **self._faulty()}

    def _faulty(self) -> Mapping[str, str]:
        """Of nodes with GPUs and of those without, one is left each, unless nothing can run there."""
        nodes = [node for node in self._cluster.nodes() if node.num_cpus >= CPUS]
        kinds = [frozenset(node.node_id for node in nodes if bool(node.num_gpus) is kind) for kind in (True, False)]
        return {node: why for kind in kinds for node, why in self._quarantine.nodes(kind).items()}

    def _room_finder(self, held: Sequence[Held]) -> Callable[[Cell], Room | None]:
        """Asks Ray at most once, and only if a lane might be opened at all."""

        @cache
        def places(sets: bool) -> tuple[Place, ...]:
            if not self._cluster.nodes():
                raise EnvironmentFailure(f"no node of the Ray cluster at {self._settings.address} is alive any more")
            barred, free = self._barred(sets), self._cluster.free()
            totals = {
                node.node_id: (node.num_gpus, node.num_cpus)
                for node in self._cluster.nodes()
                if node.node_id not in barred
            }
            left = {node: (found.get("GPU", 0.0), found.get("CPU", 0.0)) for node, found in free.items()}
            return places_of(totals, left, held)

        def find(cell: Cell) -> Room | None:
            avoid = self._quarantine.failed_on(cell.engine_key)
            most = self._settings.num_workers
            return room_for(self._need_of(cell), places(sets_gpus(cell)), held, most_lanes=most, avoid=avoid)

        return find

    def _need_of(self, cell: Cell) -> Need:
        """Whoever sets ``num_workers`` says how many engines share the cores of a node."""
        need = need_of(cell)
        return need if self._settings.num_workers is None else replace(need, fills_node=False)

    def _placement_causes(self, cell: Cell) -> str:
        cluster, barred = self._cluster, self._barred(sets_gpus(cell))
        return placement.no_place(self._need_of(cell), cluster.nodes(), cluster.free(), barred, self._settings)

    def _held(self, lane: Lane) -> Held:
        return Held(
            lane_id=lane.lane_id,
            key=lane.key,
            need=lane.need,
            node=lane.node,
            idle=lane.state == "idle",
            may_set=lane.node not in self._refusing,
        )
