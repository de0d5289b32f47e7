"""Policy of the lanes: what to do next, decided from an immutable view. No Ray, no clock, no I/O.

`LanePolicy.decide` returns one decision, which `orchestrator.lanes.pool` carries out. Its parts: `dispatch` orders what
could start, `placement` finds a node for a new lane, `quarantine` knows which engines and nodes have failed.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from orchestrator.errors import CellError, EnvironmentFailure
from orchestrator.lanes.dispatch import proposals
from orchestrator.lanes.placement import (
    CPUS,
    ClusterView,
    LaneView,
    NodeCapacity,
    PlacementRequest,
    find_placement,
    free_capacity,
    infeasible_error,
    no_usable_node_error,
    placement_request,
    placement_timeout_text,
    sets_gpus,
)
from orchestrator.lanes.quarantine import LaneEvent, Quarantine, StartFailed
from orchestrator.lanes.turns import Wait
from orchestrator.ray_runtime.cluster import Node
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """All that a decision depends on beside the queue.

    Attributes:
        lanes: all present lanes, the oldest first.
        quarantine: engines and nodes that failed.
        cluster: None if it has not been read; a decision that needs it is then `ReadCluster`.
        fixed_nodes: nodes of a local Ray, to which none is ever added; None for a cluster.
    """

    lanes: tuple[LaneView, ...]
    quarantine: Quarantine
    cluster: ClusterView | None = None
    fixed_nodes: tuple[Node, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignCell:
    """Run the cell at ``index`` of the queue on the idle lane ``lane_id``."""

    index: int
    lane_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartLane:
    """Start a lane for the cell at ``index`` of the queue, after the idle lanes ``close`` have ended.

    ``node`` None leaves the choice to Ray, which waits for a node or an autoscaler and takes none of ``exclude``.
    """

    index: int
    request: PlacementRequest
    node: str | None
    close: tuple[str, ...]
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseCell:
    """Fail the cell at ``index`` of the queue without starting anything."""

    index: int
    error: CellError


@dataclass(frozen=True, slots=True)
class ReadCluster:
    """Read the cluster and decide again."""


Decision = AssignCell | StartLane | RefuseCell | ReadCluster | Wait


class LanePolicy:
    """Decisions on lanes under some settings; it has no state beside a cache of placement requests."""

    def __init__(self, settings: ClusterSettings, block_of: Callable[[Cell], Hashable]) -> None:
        """``block_of`` groups cells; one of a later block starts only if none of an earlier can start now."""
        self._settings = settings
        self._block_of = block_of
        self._requests: dict[tuple[str, int], PlacementRequest] = {}

    def decide(self, queue: Sequence[Cell], view: PoolView) -> Decision:
        """Return what to do next.

        Raises:
            EnvironmentFailure: a lane is needed and no node can be used.
        """
        refusal = self._refusal(queue, view)
        if refusal is not None:
            return refusal
        capacities = cache(lambda sets: self._capacities(view, sets))
        refused = view.quarantine.limits_refused
        for proposal in proposals(queue, view.lanes, block_of=self._block_of, limits_refused=refused):
            if proposal.lane_id is not None:
                return AssignCell(index=proposal.index, lane_id=proposal.lane_id)
            if view.cluster is None:
                return ReadCluster()
            cell = queue[proposal.index]
            start = self._start_lane(proposal.index, cell, view, capacities(sets_gpus(cell)))
            if start is not None:
                return start
        return self._without_placement(queue, view)

    def timeout_text(self, cell: Cell, quarantine: Quarantine, cluster: ClusterView) -> str:
        """Return the message for a lane of ``cell`` that Ray did not place in time."""
        excluded = excluded_nodes(quarantine, cluster.nodes, setting_gpus=sets_gpus(cell))
        return placement_timeout_text(self._request(cell), cluster, excluded, self._settings)

    def _refusal(self, queue: Sequence[Cell], view: PoolView) -> RefuseCell | None:
        """Return the first cell whose engine is given up or larger than every node that can exist."""
        seen = set()
        for index, cell in enumerate(queue):
            key = _request_key(cell)
            if key in seen:
                continue
            seen.add(key)
            error = view.quarantine.engine_error(cell.engine_key)
            if error is None and view.fixed_nodes is not None:
                error = infeasible_error(self._request(cell), view.fixed_nodes)
            if error is not None:
                return RefuseCell(index=index, error=error)
        return None

    def _capacities(self, view: PoolView, setting_gpus: bool) -> tuple[NodeCapacity, ...]:
        cluster = _cluster_of(view)
        if not cluster.nodes:
            raise EnvironmentFailure(f"no node of the Ray cluster at {self._settings.address} is alive any more")
        excluded = excluded_nodes(view.quarantine, cluster.nodes, setting_gpus=setting_gpus)
        return free_capacity(cluster, view.lanes, excluded)

    def _start_lane(
        self, index: int, cell: Cell, view: PoolView, capacities: Sequence[NodeCapacity]
    ) -> StartLane | None:
        request = self._request(cell)
        avoid = view.quarantine.failed_on(cell.engine_key)
        placement = find_placement(request, capacities, view.lanes, max_lanes=self._settings.num_workers, avoid=avoid)
        if placement is None:
            return None
        return StartLane(index=index, request=request, node=placement.node, close=placement.close)

    def _without_placement(self, queue: Sequence[Cell], view: PoolView) -> Decision:
        """Wait for busy lanes; with none, let Ray place the first cell, because a node may still join."""
        if not queue or not all(lane.idle for lane in view.lanes):
            return Wait()
        if view.cluster is None:
            return ReadCluster()
        request, nodes = self._request(queue[0]), _cluster_of(view).nodes
        excluded = excluded_nodes(view.quarantine, nodes, setting_gpus=sets_gpus(queue[0]))
        error = no_usable_node_error(request, nodes, excluded)
        if error is not None:
            raise error
        close = tuple(lane.lane_id for lane in view.lanes)
        return StartLane(index=0, request=request, node=None, close=close, exclude=tuple(excluded))

    def _request(self, cell: Cell) -> PlacementRequest:
        """Return the request of a lane; ``num_workers``, if set, says how many engines share the cores of a node."""
        key = _request_key(cell)
        if key not in self._requests:
            request = placement_request(cell)
            shared = self._settings.num_workers is not None
            self._requests[key] = replace(request, fills_node=False) if shared else request
        return self._requests[key]


def _request_key(cell: Cell) -> tuple[str, int]:
    """Return what determines a request: the engines (`Cell.engine_key`), and whether the node has GPUs."""
    return cell.engine_key, cell.hardware.num_gpus


def excluded_nodes(quarantine: Quarantine, nodes: Sequence[Node], *, setting_gpus: bool) -> Mapping[str, str]:
    """Return the nodes that get no lane, with the reasons; ``setting_gpus`` for cells with a power limit or a clock.

    Nodes with GPUs and nodes without are judged separately (`Quarantine.excluded`).
    """
    large_enough = [node for node in nodes if node.num_cpus >= CPUS]
    with_gpus = frozenset(node.node_id for node in large_enough if node.num_gpus)
    without = frozenset(node.node_id for node in large_enough if not node.num_gpus)
    refused = quarantine.limits_refused if setting_gpus else {}
    return {**refused, **quarantine.excluded(with_gpus), **quarantine.excluded(without)}


def quarantine_warnings(quarantine: Quarantine, nodes: Sequence[Node]) -> tuple[str, ...]:
    """Return one line for each node that is no longer used, or not for all cells."""
    excluded = excluded_nodes(quarantine, nodes, setting_gpus=False)
    return (
        *(f"node {node} gets no lane any more: {reason}" for node, reason in excluded.items()),
        *(
            f"node {node} gets no cell with a limit or clock any more: {reason}"
            for node, reason in quarantine.limits_refused.items()
        ),
    )


def quarantine_after(quarantine: Quarantine, event: LaneEvent, *, any_placed: bool) -> Quarantine:
    """Return the quarantine after an event; ``any_placed`` is whether a lane has ever been placed in this run.

    Raises:
        EnvironmentFailure: no lane has been placed in this run yet, and this one failed before its actors answered. A
            wrong set-up is best corrected at once; later in a sweep the node is only excluded.
    """
    match event:
        case StartFailed(error=EnvironmentFailure() as error) | StartFailed(was_placed=False, error=error):
            if not any_placed:
                raise EnvironmentFailure(str(error)) from error
    return quarantine.after(event)


def _cluster_of(view: PoolView) -> ClusterView:
    if view.cluster is None:
        raise AssertionError("the cluster has not been read")
    return view.cluster
