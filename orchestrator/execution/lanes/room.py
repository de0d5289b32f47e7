"""Where one more lane fits, and which idle lanes must go for it. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.execution.lanes.need import CPUS, Need

_EPSILON = 1e-6


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
