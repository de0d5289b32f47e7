"""Where the names of a front's members go, so that they neither meet each other nor leave the panel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report.panels import FrontMember, FrontPanel
from orchestrator.report.theme import spans_decades

NEAR = 1.6
_WIDTH_PX, _HEIGHT_PX = 460.0, 380.0
_CHARACTER_PX, _LINE_PX = 6.4, 15.0
_OFFSETS_PX = tuple(
    (side * right, up)
    for right, up in ((10, -14), (10, 14), (20, -30), (20, 30), (30, -48), (30, 48))
    for side in (-1, 1)
)
"""Below-left first: a front falls to the right, so that corner is empty."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Range:
    """The extent of an axis, in powers of ten where ``log``."""

    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1 if it is inside."""
        return ((math.log10(value) if self.log else value) - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values for a logarithmic axis: 1, 2 and 5 times a power of ten."""
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        return [step * 10.0**decade for decade in decades for step in (1, 2, 5)]


@dataclass(frozen=True, slots=True)
class View:
    """What a front's panel shows: the front and what lies near it; ``n_outside`` points are further out."""

    x: Range
    y: Range
    n_outside: int


@dataclass(frozen=True, slots=True)
class Label:
    """A member's name at an offset from its point; text ends there where the offset is to the left. Units: px."""

    member: FrontMember
    right_px: float
    up_px: float


def view_of_front(panel: FrontPanel) -> View:
    """The extent of a panel: every point but those beyond `NEAR` times the worst member, so that it can be read."""
    far_x = NEAR * max((member.latency_s for member in panel.members), default=math.inf)
    far_y = NEAR * max((member.energy_j for member in panel.members), default=math.inf)
    points = list(zip(panel.latencies_s, panel.energies_j, strict=True))
    shown = [(x, y) for x, y in points if x <= far_x and y <= far_y]
    xs, ys = [x for x, _ in shown], [y for _, y in shown]
    return View(_axis_range(xs), _axis_range(ys), len(points) - len(shown))


def front_title(panel: FrontPanel) -> str:
    """The panel's name, and how many points its view leaves out."""
    outside = view_of_front(panel).n_outside
    return f"{panel.name} ({outside} more further out)" if outside else panel.name


def _axis_range(values: Sequence[float]) -> Range:
    """An extent with room for names, larger at the low end."""
    log = spans_decades(values, 6)
    known = [math.log10(value) if log else value for value in values]
    low, high = min(known), max(known)
    span = high - low or abs(high) or 1.0
    return Range(low - 0.18 * span, high + 0.08 * span, log)


def place_labels(panel: FrontPanel) -> tuple[Label, ...]:
    """A place for every name that has one; crowded members are left to the table below the figure."""
    if not panel.members:
        return ()
    view = view_of_front(panel)
    points = [_position(member.latency_s, member.energy_j, view) for member in panel.members]
    others = [_position(*cost, view) for cost in zip(panel.latencies_s, panel.energies_j, strict=True)]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    muted = [(x - 4, y - 4, x + 4, y + 4) for x, y in others]
    labels = []
    for index in _ends_first(len(panel.members)):
        member = panel.members[index]
        place = _free_place(points[index], member.label, taken, muted) or _free_place(
            points[index], member.label, taken
        )
        if place is not None:
            taken += [_box(points[index], *place, member.label), *_leader(points[index], *place)]
            labels.append(Label(member, *place))
    return tuple(labels)


def _free_place(
    point: tuple[float, float], text: str, taken: list[Box], muted: Sequence[Box] = ()
) -> tuple[float, float] | None:
    for right, up in _OFFSETS_PX:
        box = _box(point, right, up, text)
        parts = (box, *_leader(point, right, up))
        if not _inside(box) or any(_meet(box, other) for other in muted):
            continue
        if not any(_meet(part, other) for part in parts for other in taken):
            return right, up
    return None


def _ends_first(count: int) -> list[int]:
    return list(dict.fromkeys([0, count - 1, *range(count)]))


def _position(latency_s: float, energy_j: float, view: View) -> tuple[float, float]:
    return _WIDTH_PX * view.x.share(latency_s), _HEIGHT_PX * view.y.share(energy_j)


def _box(point: tuple[float, float], right: float, up: float, text: str) -> Box:
    x, y, width = point[0] + right, point[1] + up, _CHARACTER_PX * len(text)
    left = x if right > 0 else x - width
    return left, y - _LINE_PX / 2, left + width, y + _LINE_PX / 2


def _leader(point: tuple[float, float], right: float, up: float) -> list[Box]:
    along = [(point[0] + share * right, point[1] + share * up) for share in (0.6, 0.75, 0.9)]
    return [(x, y, x + 1, y + 1) for x, y in along]


def _inside(box: Box) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= _WIDTH_PX and box[3] <= _HEIGHT_PX


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
