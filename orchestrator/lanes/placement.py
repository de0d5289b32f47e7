"""Placement: what a lane needs of a cluster, and the node on which it fits. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import EnvironmentFailure, InfeasibleCell
from orchestrator.ray_runtime.cluster import Node
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings

CPUS_OF_ENGINE = 0.5
CPUS_OF_REST = 0.5
CPUS = CPUS_OF_ENGINE + CPUS_OF_REST
"""Ray CPUs that a lane reserves, for the engine and for all processes beside it. No process is pinned to them."""

_EPSILON = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRequest:
    """Resources of one lane, all on one node.

    ``fills_node`` is True for an engine that computes on all cores. ``exclusive`` holds the resources, named by
    `EngineOptions.exclusive`, that no two lanes may use at the same time.
    """

    num_gpus: int = 0
    fills_node: bool = False
    exclusive: frozenset[str] = frozenset()

    def bundles(self) -> list[dict[str, float]]:
        """Return the bundles of the placement group: the engine's, then the one for everything else."""
        gpus = {"GPU": float(self.num_gpus)} if self.num_gpus else {}
        return [{"CPU": CPUS_OF_ENGINE, **gpus}, {"CPU": CPUS_OF_REST}]

    def fits(self, num_gpus: float, num_cpus: float) -> bool:
        """Return whether an empty node with this many GPUs and CPUs is large enough."""
        return num_gpus >= self.num_gpus and num_cpus >= CPUS

    def text(self) -> str:
        """Return the request in words, for messages."""
        gpus = f"{self.num_gpus} GPU{'s' if self.num_gpus > 1 else ''} and " if self.num_gpus else ""
        return f"{gpus}{CPUS:g} CPU on one node"


def placement_request(cell: Cell) -> PlacementRequest:
    """Return what a lane needs that holds all engines of ``cell``."""
    engines = [own.engine for own in cell.engine_cells.values()]
    on_node = [engine for engine in engines if engine.uses_gpus]
    num_gpus = sum(engine.tensor_parallel_size for engine in on_node) if cell.hardware.num_gpus else 0
    exclusive = frozenset(engine.exclusive for engine in engines if engine.exclusive is not None)
    return PlacementRequest(num_gpus=num_gpus, fills_node=bool(on_node) and not num_gpus, exclusive=exclusive)


def sets_gpus(cell: Cell) -> bool:
    """Return whether ``cell`` sets a power limit or a clock of real GPUs."""
    hardware = cell.hardware
    return (hardware.power_limit_w is not None or hardware.sm_clock_mhz is not None) and cell.on_gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneView:
    """A lane at one instant: ``idle`` if it may be closed. ``node`` is None until Ray has chosen it."""

    lane_id: str
    engine_key: str
    request: PlacementRequest
    node: str | None
    idle: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """The cluster at one instant: nodes that are alive, and Ray's count of unreserved resources by node id."""

    nodes: tuple[Node, ...]
    free: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCapacity:
    """Unreserved resources of a usable node."""

    node: str
    free_gpus: float
    free_cpus: float


def free_capacity(
    cluster: ClusterView, lanes: Iterable[LaneView], excluded: Collection[str]
) -> tuple[NodeCapacity, ...]:
    """Return what is free on each node that is not ``excluded``.

    Two counts exist and the smaller one is taken: Ray's lags behind lanes that are being placed, and the count of our
    own lanes does not include other jobs.
    """
    on_nodes = [lane for lane in lanes if lane.node is not None]
    capacities = []
    for node in cluster.nodes:
        if node.node_id in excluded or node.node_id not in cluster.free:
            continue
        free, here = cluster.free[node.node_id], [lane for lane in on_nodes if lane.node == node.node_id]
        gpus = node.num_gpus - sum(lane.request.num_gpus for lane in here)
        cpus = node.num_cpus - CPUS * len(here)
        capacities.append(
            NodeCapacity(
                node=node.node_id, free_gpus=min(gpus, free.get("GPU", 0.0)), free_cpus=min(cpus, free.get("CPU", 0.0))
            )
        )
    return tuple(capacities)


@dataclass(frozen=True, slots=True)
class Placement:
    """A node on which a new lane fits after the idle lanes ``close`` have ended."""

    node: str
    close: tuple[str, ...]


def find_placement(
    request: PlacementRequest,
    capacities: Iterable[NodeCapacity],
    lanes: Sequence[LaneView],
    *,
    max_lanes: int | None,
    avoid: Collection[str] = (),
) -> Placement | None:
    """Return where the request fits: on a node not in ``avoid`` if possible, then with the fewest idle lanes closed.

    None if it fits nowhere now.

    Args:
        request: of the new lane.
        capacities: of the usable nodes.
        lanes: all present lanes.
        max_lanes: upper bound on their number; None for no bound.
        avoid: nodes to choose only if no other node fits.
    """
    exclusive = _exclusive_lanes(request, lanes)
    if exclusive is None:
        return None
    placements = [
        Placement(capacity.node, close)
        for capacity in capacities
        if (close := _lanes_to_close(request, capacity, lanes, exclusive, max_lanes)) is not None
    ]
    return min(placements, key=lambda each: (each.node in avoid, len(each.close)), default=None)


def _exclusive_lanes(request: PlacementRequest, lanes: Iterable[LaneView]) -> tuple[LaneView, ...] | None:
    """Return lanes that share an exclusive resource with the new one; None if any of them is busy."""
    rivals = tuple(lane for lane in lanes if lane.request.exclusive & request.exclusive)
    return rivals if all(lane.idle for lane in rivals) else None


def _lanes_to_close(
    request: PlacementRequest,
    capacity: NodeCapacity,
    lanes: Sequence[LaneView],
    exclusive: tuple[LaneView, ...],
    max_lanes: int | None,
) -> tuple[str, ...] | None:
    """Return the idle lanes to close for the request to fit on this node; None if it cannot fit."""
    closed = list(exclusive)
    if request.fills_node:
        filling = [lane for lane in lanes if lane.node in (capacity.node, None) and lane.request.fills_node]
        if not all(lane.idle for lane in filling):
            return None
        closed += [lane for lane in filling if lane not in closed]
    spare = [lane for lane in lanes if lane.idle and lane not in closed]
    spare_here = [lane for lane in spare if lane.node == capacity.node]
    while not _fits(request, capacity, [lane for lane in closed if lane.node == capacity.node]):
        if not spare_here:
            return None
        closed.append(spare_here.pop(0))
    spare = spare_here + [lane for lane in spare if lane.node != capacity.node]
    while max_lanes is not None and len(lanes) - len(closed) >= max_lanes:
        if not spare:
            return None
        closed.append(spare.pop(0))
    return tuple(lane.lane_id for lane in closed)


def _fits(request: PlacementRequest, capacity: NodeCapacity, closed: Sequence[LaneView]) -> bool:
    gpus = capacity.free_gpus + sum(lane.request.num_gpus for lane in closed)
    cpus = capacity.free_cpus + CPUS * len(closed)
    return gpus + _EPSILON >= request.num_gpus and cpus + _EPSILON >= CPUS


def infeasible_error(request: PlacementRequest, nodes: Sequence[Node]) -> InfeasibleCell | None:
    """Return the error of a request that is larger than each of ``nodes``, where no other node can join."""
    if not nodes or any(request.fits(node.num_gpus, node.num_cpus) for node in nodes):
        return None
    has = ", ".join(f"{node.host} has {node.num_gpus:g} GPUs and {node.num_cpus:g} CPUs" for node in nodes)
    return InfeasibleCell(f"the engine needs {request.text()}; {has}")


def no_usable_node_error(
    request: PlacementRequest, nodes: Sequence[Node], excluded: Mapping[str, str]
) -> EnvironmentFailure | None:
    """Return the error of a request whose large enough nodes are all ``excluded``; the mapping holds the reasons."""
    large_enough = [node.node_id for node in nodes if request.fits(node.num_gpus, node.num_cpus)]
    if not large_enough or any(node not in excluded for node in large_enough):
        return None
    return EnvironmentFailure("; ".join(dict.fromkeys(excluded[node] for node in large_enough)))


def placement_timeout_text(
    request: PlacementRequest, cluster: ClusterView, excluded: Mapping[str, str], settings: ClusterSettings
) -> str:
    """Return the message for a lane that Ray did not place in time."""
    capacities = ", ".join(
        f"{node.host} has {node.num_gpus:g} GPUs and {node.num_cpus:g} CPUs, free are "
        f"{cluster.free.get(node.node_id, {}).get('GPU', 0.0):g} and "
        f"{cluster.free.get(node.node_id, {}).get('CPU', 0.0):g}"
        for node in cluster.nodes
    )
    quarantine = "".join(f"; {node} is in quarantine: {reason}" for node, reason in excluded.items())
    return (
        f"no place for a lane within {settings.placement_timeout_s:g} s at {settings.address}: it needs "
        f"{request.text()}; {capacities or 'no node is alive'}{quarantine}; another job may hold them, a node may have "
        "left, or an autoscaler may still be starting one (cluster.placement_timeout_s)"
    )
