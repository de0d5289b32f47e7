"""A figure of the report as data: panels, the layers of each, scales, and the palette.

A figure is described once, in ``sweep_charts`` or ``cell_charts``. ``interactive`` draws any chart for the page and
``static`` draws it as a PNG. Colours are safe for colour-blind readers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

INK, MUTED, GRID, FAINT = "#1a1a1a", "#6b6b6b", "#e4e4e4", "#c4c4c4"
BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
"""Okabe and Ito's palette."""

PANELS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
HEAT = "cividis"
SIMULATED = "SIMULATED"

Dash = Literal["solid", "dash", "dot"]
Marker = Literal["", "circle", "square", "diamond", "triangle-up", "x", "star"]
Hover = str | Sequence[str] | None
"""A template over ``%{x}`` and ``%{y}``, or one text a point; empty: the default of the page; None: no hover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points, joined by a line where ``width`` is not 0. Sizes: px of the page.

    ``halves`` are half-lengths of error bars, NaN for none. With ``steps`` a value holds until the next x. A line with
    a ``choice`` is visible only while the menu of the chart shows that choice.
    """

    xs: Sequence[float]
    ys: Sequence[float]
    colour: str
    name: str = ""
    width: float = 0
    dash: Dash = "solid"
    steps: bool = False
    marker: Marker = ""
    size: float = 6
    halves: Sequence[float] = ()
    hover: Hover = ""
    choice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The area between two step lines."""

    xs: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    colour: str
    opacity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Horizontal bars at the heights ``rows``, each from its start; ``texts`` stand inside them."""

    rows: Sequence[float]
    starts: Sequence[float]
    lengths: Sequence[float]
    colour: str
    name: str
    hover: Sequence[str]
    texts: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Values ``rows[y][x]`` at whole numbers, with their texts; NaN for a blank."""

    rows: Sequence[Sequence[float]]
    texts: Sequence[Sequence[str]]
    hover: Sequence[Sequence[str]]

    @property
    def log(self) -> bool:
        """Return whether the colours follow the logarithm: the values span more than a factor of four."""
        return spans_decades([value for row in self.rows for value in row], 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A text at an offset from a point, at its side of the point; a thin ``leader`` joins them. Offsets: px."""

    x: float
    y: float
    text: str
    right_px: float
    up_px: float = 0
    leader: bool = True


Layer = Line | Band | Bars | HeatMap | Note


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One axis of a panel.

    ``extent`` is in data units; None: it follows the data, and with ``from_zero`` it includes zero. An axis whose first
    end is the larger one runs backwards. ``ticks`` maps positions to their texts; None: the library chooses.
    """

    title: str = ""
    extent: tuple[float, float] | None = None
    from_zero: bool = False
    ticks: Mapping[float, str] | None = None
    log: bool = False
    grid: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One set of axes; the layers are drawn in their order."""

    x: Scale
    y: Scale
    layers: Sequence[Layer]
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure: panels in rows of ``columns``, left to right, then down.

    ``row_px`` has the height of each row on the page, ``size_in`` the width and height of the PNG. Only outer panels
    show the titles of their scales. ``legend`` stands above all panels, or in each panel of the PNG only
    (``"panel"``). The page has a menu of ``choices``; a PNG shows the first. ``right_px`` is the margin of the page.
    """

    title: str
    panels: Sequence[Panel]
    columns: int
    row_px: Sequence[int]
    size_in: tuple[float, float]
    legend: Literal["chart", "panel"] = "chart"
    choices: Sequence[str] = ()
    right_px: int = 16

    @property
    def stacked(self) -> bool:
        """Return whether the panels stand one above the other: their titles begin at the left."""
        return self.columns == 1 and len(self.row_px) > 1

    def is_outer(self, index: int) -> tuple[bool, bool]:
        """Return whether no panel lies below a panel, and whether none lies to its left."""
        return index + self.columns >= len(self.panels), index % self.columns == 0


def grid_of(n_panels: int, columns: int = 2) -> tuple[int, int]:
    """Return rows and columns for a number of panels."""
    columns = max(1, min(columns, n_panels))
    return -(-n_panels // columns), columns


def spans_decades(values: Sequence[float], ratio: float = 10.0) -> bool:
    """Return whether positive values spread so widely that a logarithmic scale shows them better."""
    known = [value for value in values if math.isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) / min(known) > ratio
