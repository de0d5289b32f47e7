"""Place the names of the members of a front: apart from each other and from markers, inside the panel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.report.panels import FrontMember, FrontPanel, merged_label
from orchestrator.report.plot import spans_decades

NEAR = 1.6
"""A front's panel shows points up to this multiple of its worst member."""

_WIDTH_PX, _HEIGHT_PX = 460.0, 380.0
_CHARACTER_PX, _LINE_PX = 6.4, 15.0
_OFFSETS_PX = tuple(
    (side * right, up)
    for right, up in ((10, -14), (10, 14), (14, -24), (14, 24), (20, -36), (20, 36), (30, -52), (30, 52))
    for side in (-1, 1)
)
"""Below-left first: a front falls to the right, so that corner is empty."""

_MARKER_PX = 5.0
_CLOSE_PX = 14.0
"""Members closer than this look like one point and share a name."""

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Range:
    """The extent of an axis, in powers of ten if ``log``."""

    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """Return the position of a value on the axis: 0 to 1 if it is inside."""
        return ((math.log10(value) if self.log else value) - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return round values for a logarithmic axis: 1, 2 and 5 times a power of ten."""
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        return [step * 10.0**decade for decade in decades for step in (1, 2, 5)]


@dataclass(frozen=True, slots=True)
class View:
    """The ranges of a front's panel; ``n_outside`` points lie outside them."""

    x: Range
    y: Range
    n_outside: int


@dataclass(frozen=True, slots=True)
class Label:
    """The name of members that lie together, at an offset from the middle one. Units: px.

    The text ends at the offset if that is to the left; else it starts there.
    """

    members: tuple[FrontMember, ...]
    right_px: float
    up_px: float

    @property
    def member(self) -> FrontMember:
        """Return the member that the leader line points to."""
        return self.members[len(self.members) // 2]

    @property
    def text(self) -> str:
        """Return the common name of the members: ``16 seqs, 300/400 W``."""
        return _name(self.members)


def view_of_front(panel: FrontPanel) -> View:
    """Return the ranges of a panel: all points up to ``NEAR`` times the worst member, so that it is readable."""
    far_x = NEAR * max((member.latency_s for member in panel.members), default=math.inf)
    far_y = NEAR * max((member.energy_j for member in panel.members), default=math.inf)
    points = list(zip(panel.latencies_s, panel.energies_j, strict=True))
    shown = [(x, y) for x, y in points if x <= far_x and y <= far_y]
    xs, ys = [x for x, _ in shown], [y for _, y in shown]
    return View(_axis_range(xs), _axis_range(ys), len(points) - len(shown))


def front_title(panel: FrontPanel) -> str:
    """Return the name of the panel, and the number of points outside its ranges."""
    outside = view_of_front(panel).n_outside
    return f"{panel.name} ({outside} more further out)" if outside else panel.name


def _axis_range(values: Sequence[float]) -> Range:
    """Return a range with space for names, more at the low end."""
    log = spans_decades(values, 6)
    known = [math.log10(value) if log else value for value in values]
    low, high = min(known), max(known)
    span = high - low or abs(high) or 1.0
    return Range(low - 0.18 * span, high + 0.08 * span, log)


def place_labels(panel: FrontPanel) -> tuple[Label, ...]:
    """Return a place for every name that fits; members without a place are in the table below the figure."""
    if not panel.members:
        return ()
    view = view_of_front(panel)
    points = [_position(member.latency_s, member.energy_j, view) for member in panel.members]
    others = [_position(*cost, view) for cost in zip(panel.latencies_s, panel.energies_j, strict=True)]
    muted = [*(_around(point, _MARKER_PX - 1) for point in others), *_stairs(points)]
    markers = {index: _around(point, _MARKER_PX) for index, point in enumerate(points)}
    taken: list[Box] = []
    labels = []
    for group in _steepest_first(_groups(points), points):
        members = tuple(panel.members[index] for index in group)
        text, point = _name(members), points[group[len(group) // 2]]
        own = [markers[index] for index in group]
        foreign = taken + [box for index, box in markers.items() if index not in group]
        place = _free_place(point, text, foreign, own, muted) or _free_place(point, text, foreign, own)
        if place is not None:
            taken += [_box(point, *place, text), *_leader(point, *place)]
            labels.append(Label(members, *place))
    return tuple(labels)


def n_unlabelled(panels: Sequence[FrontPanel]) -> int:
    """Return the number of members of fronts without a name in the figure."""
    named = sum(len(label.members) for panel in panels for label in place_labels(panel))
    return sum(len(panel.members) for panel in panels) - named


def _name(members: Sequence[FrontMember]) -> str:
    names = [member.label for member in reversed(members)]
    if len(names) == 1:
        return names[0]
    together = merged_label(names) if not any(" = " in name for name in names) else " = "
    return f"{names[-1]} and {len(names) - 1} close by" if " = " in together else together


def _groups(points: Sequence[Point]) -> list[list[int]]:
    """Return groups of indices of points that lie close to the first of their group."""
    groups: list[list[int]] = []
    for index, point in enumerate(points):
        if groups and math.dist(points[groups[-1][0]], point) < _CLOSE_PX:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _steepest_first(groups: list[list[int]], points: Sequence[Point]) -> list[list[int]]:
    """Return the knee first (the largest fall of energy per time), then both ends, then the others in that order."""

    def fall(at: int) -> float:
        if at == 0:
            return 0.0
        (x0, y0), (x, y) = points[groups[at - 1][-1]], points[groups[at][-1]]
        return (y0 - y) / max(x - x0, 1.0)

    ranked = sorted(range(len(groups)), key=fall, reverse=True)
    return [groups[at] for at in dict.fromkeys([ranked[0], len(groups) - 1, 0, *ranked])]


def _free_place(
    point: Point, text: str, foreign: Sequence[Box], own: Sequence[Box], muted: Sequence[Box] = ()
) -> Point | None:
    """Return the first offset whose text and leader meet no foreign box, and whose text meets no other box either."""
    for right, up in _OFFSETS_PX:
        box = _box(point, right, up, text)
        if not _inside(box) or any(_meet(box, other) for other in (*own, *muted)):
            continue
        if not any(_meet(part, other) for part in (box, *_leader(point, right, up)) for other in foreign):
            return right, up
    return None


def _around(point: Point, half_px: float) -> Box:
    return point[0] - half_px, point[1] - half_px, point[0] + half_px, point[1] + half_px


def _stairs(points: Sequence[Point]) -> list[Box]:
    """Return boxes along the line that joins the members: level first, then down."""
    boxes = []
    for (x0, y0), (x1, y1) in pairwise(points):
        boxes += [(x0, y0 - 1, x1, y0 + 1), (x1 - 1, y1, x1 + 1, y0)]
    return boxes


def _position(latency_s: float, energy_j: float, view: View) -> Point:
    return _WIDTH_PX * view.x.share(latency_s), _HEIGHT_PX * view.y.share(energy_j)


def _box(point: Point, right: float, up: float, text: str) -> Box:
    x, y, width = point[0] + right, point[1] + up, _CHARACTER_PX * len(text)
    left = x if right > 0 else x - width
    return left, y - _LINE_PX / 2, left + width, y + _LINE_PX / 2


def _leader(point: Point, right: float, up: float) -> list[Box]:
    n_parts = math.ceil(math.hypot(right, up) / 3)
    return [_around((point[0] + right * i / n_parts, point[1] + up * i / n_parts), 1.5) for i in range(1, n_parts)]


def _inside(box: Box) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= _WIDTH_PX and box[3] <= _HEIGHT_PX


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
