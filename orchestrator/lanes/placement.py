"""What a lane for a cell takes of a cluster."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import EnvironmentFailure, InfeasibleCell
from orchestrator.ray_runtime.cluster import Node
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings

CPUS_OF_ENGINE = 0.5
CPUS_OF_REST = 0.5
CPUS = CPUS_OF_ENGINE + CPUS_OF_REST
"""What a lane books of Ray's CPUs: for the engine, and for all beside it. Nobody is bound to them."""

_EPSILON = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """``fills_node`` means that an engine computes on all cores.

    ``exclusive`` holds `EngineOptions.exclusive` of all engines that have one.
    """

    num_gpus: int = 0
    fills_node: bool = False
    exclusive: frozenset[str] = frozenset()

    def bundles(self) -> list[dict[str, float]]:
        """The placement group: the engine's bundle, then that of all else."""
        gpus = {"GPU": float(self.num_gpus)} if self.num_gpus else {}
        return [{"CPU": CPUS_OF_ENGINE, **gpus}, {"CPU": CPUS_OF_REST}]

    def fits(self, num_gpus: float, num_cpus: float) -> bool:
        """Whether a node with this many has place for it, were it empty."""
        return num_gpus >= self.num_gpus and num_cpus >= CPUS

    def text(self) -> str:
        """For messages."""
        gpus = f"{self.num_gpus} GPU{'s' if self.num_gpus > 1 else ''} and " if self.num_gpus else ""
        return f"{gpus}{CPUS:g} CPU on one node"


def need_of(cell: Cell) -> Need:
    """A lane's need for the engines of a cell."""
    engines = [own.engine for own in cell.engine_cells.values()]
    here = [engine for engine in engines if engine.uses_gpus]
    num_gpus = sum(engine.tensor_parallel_size for engine in here) if cell.hardware.num_gpus else 0
    exclusive = frozenset(engine.exclusive for engine in engines if engine.exclusive is not None)
    return Need(num_gpus=num_gpus, fills_node=bool(here) and not num_gpus, exclusive=exclusive)


def sets_gpus(cell: Cell) -> bool:
    """Whether it asks for a limit or clock of real GPUs."""
    hardware = cell.hardware
    return cell.on_gpus and (hardware.power_limit_w is not None or hardware.sm_clock_mhz is not None)


def too_large(need: Need, nodes: Sequence[Node]) -> InfeasibleCell | None:
    """The refusal of what fits on none of these nodes; there are no others to come."""
    if not nodes or any(need.fits(node.num_gpus, node.num_cpus) for node in nodes):
        return None
    has = ", ".join(f"{node.host} has {node.num_gpus:g} GPUs and {node.num_cpus:g} CPUs" for node in nodes)
    return InfeasibleCell(f"the engine needs {need.text()}; {has}")


def none_left(need: Need, nodes: Sequence[Node], barred: Mapping[str, str]) -> EnvironmentFailure | None:
    """The end of a sweep whose cells have nodes, none of which can be used."""
    able = [node.node_id for node in nodes if need.fits(node.num_gpus, node.num_cpus)]
    if not able or any(node not in barred for node in able):
        return None
    return EnvironmentFailure("; ".join(dict.fromkeys(barred[node] for node in able)))


def no_place(
    need: Need,
    nodes: Sequence[Node],
    free: Mapping[str, Mapping[str, float]],
    barred: Mapping[str, str],
    settings: ClusterSettings,
) -> str:
    """Why no place may have been found in time."""
    told = ", ".join(
        f"{node.host} has {node.num_gpus:g} GPUs and {node.num_cpus:g} CPUs, free are "
        f"{free.get(node.node_id, {}).get('GPU', 0.0):g} and {free.get(node.node_id, {}).get('CPU', 0.0):g}"
        for node in nodes
    )
    quarantine = "".join(f"; {node} is in quarantine: {why}" for node, why in barred.items())
    return (
        f"no place for a lane within {settings.placement_timeout_s:g} s at {settings.address}: it needs "
        f"{need.text()}; {told or 'no node is alive'}{quarantine}; another job may hold them, a node may have left, "
        "or an autoscaler may still be starting one (cluster.placement_timeout_s)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node that is alive and not quarantined: what nobody holds of it now, lanes of ours included."""

    node: str
    free_gpus: float
    free_cpus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A lane that is there: ``idle`` if it may be ended for another. ``node`` is None until that is known.

    ``may_set`` is False where its node refuses limits and clocks: it takes cells that ask for neither.
    """

    lane_id: str
    key: str
    need: Need
    node: str | None
    idle: bool
    may_set: bool = True


def places_of(
    totals: Mapping[str, tuple[float, float]], free: Mapping[str, tuple[float, float]], lanes: Iterable[Held]
) -> tuple[Place, ...]:
    """What is free of each node of ``totals``; pairs are GPUs and CPUs.

    Ray's own count of what is ``free`` lags behind lanes that are being placed, ours does not know of other jobs.
    """
    ours = [lane for lane in lanes if lane.node is not None]
    return tuple(
        Place(
            node=node,
            free_gpus=min(gpus - sum(lane.need.num_gpus for lane in ours if lane.node == node), free[node][0]),
            free_cpus=min(cpus - sum(CPUS for lane in ours if lane.node == node), free[node][1]),
        )
        for node, (gpus, cpus) in totals.items()
        if node in free
    )


@dataclass(frozen=True, slots=True)
class Room:
    """A node with place for a lane, once these lanes have ended."""

    node: str
    ends: tuple[str, ...]


def room_for(
    need: Need, places: Iterable[Place], lanes: Sequence[Held], *, most_lanes: int | None, avoid: Collection[str] = ()
) -> Room | None:
    """Where a lane fits with the fewest idle lanes ended; None where it does not, as things are.

    Args:
        need: of the lane.
        places: what is free.
        lanes: those there are.
        most_lanes: how many there may be.
        avoid: nodes to take only where no other will do.
    """
    forced = _forced(need, lanes, most_lanes)
    if forced is None:
        return None
    rooms = [
        Room(place.node, ends)
        for place in places
        if (ends := _ends(need, place, lanes, forced, most_lanes)) is not None
    ]
    return min(rooms, key=lambda room: (room.node in avoid, len(room.ends)), default=None)


def _forced(need: Need, lanes: Iterable[Held], most_lanes: int | None) -> tuple[Held, ...] | None:
    """Lanes that must end wherever the new one goes; None where one of them is at work."""
    rivals = tuple(lane for lane in lanes if lane.need.exclusive & need.exclusive)
    return rivals if all(lane.idle for lane in rivals) else None


def _ends(
    need: Need, place: Place, lanes: Sequence[Held], forced: tuple[Held, ...], most_lanes: int | None
) -> tuple[str, ...] | None:
    """Lanes to end for a place on this node, none if possible; None where it is not."""
    here = [lane for lane in lanes if lane.node == place.node]
    ended = list(forced)
    spare = [lane for lane in here if lane.idle and lane not in ended]
    if need.fills_node:
        possible = [lane for lane in lanes if lane.node in (place.node, None)]
        rivals = [lane for lane in possible if lane.need.fills_node and lane not in ended]
        if not all(lane.idle for lane in rivals):
            return None
        ended += rivals
    spare = [lane for lane in spare if lane not in ended]
    while not _fits(need, place, [lane for lane in ended if lane.node == place.node]):
        if not spare:
            return None
        ended.append(spare.pop(0))
    spare += [lane for lane in lanes if lane.idle and lane.node != place.node and lane not in ended]
    while most_lanes is not None and len(lanes) - len(ended) >= most_lanes:
        if not spare:
            return None
        ended.append(spare.pop(0))
    return tuple(lane.lane_id for lane in ended)


def _fits(need: Need, place: Place, ended: Sequence[Held]) -> bool:
    gpus = place.free_gpus + sum(lane.need.num_gpus for lane in ended)
    cpus = place.free_cpus + CPUS * len(ended)
    return gpus + _EPSILON >= need.num_gpus and cpus + _EPSILON >= CPUS
