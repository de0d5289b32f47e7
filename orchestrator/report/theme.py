"""Colours, font and layout shared by the page, the interactive figures and the PNGs. Safe for colour-blind readers."""

import math
from collections.abc import Sequence

INK = "#1a1a1a"
MUTED = "#6b6b6b"
GRID = "#e4e4e4"
FAINT = "#c4c4c4"
BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
"""Okabe and Ito's palette."""

HEAT = "cividis"
SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
SIMULATED = "SIMULATED"

PARTS = {"prefill": ORANGE, "decode": BLUE, "idle": FAINT, "not attributed": "#8a8a8a"}
"""Where energy or time goes, and its colour."""

PERCENTILES = {"median": (BLUE, "solid"), "p90": (ORANGE, "dash"), "p99": (VERMILLION, "dot")}
"""Statistics of a latency, each told apart by colour and by dash."""


def grid_of(n_panels: int, columns: int = 2) -> tuple[int, int]:
    """Rows and columns for so many panels."""
    columns = max(1, min(columns, n_panels))
    return -(-n_panels // columns), columns


def spans_decades(values: Sequence[float], ratio: float = 10.0) -> bool:
    """Whether positive values spread so widely that a logarithmic scale shows them better."""
    known = [value for value in values if math.isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) / min(known) > ratio


PANELS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
MARKERS = ("o", "s", "D", "^", "X", "*")
"""Colour, plotly symbol and matplotlib marker of a panel where panels share one set of axes."""

SHORT = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "request", "workflow": "workflow"}
"""Latencies in a word, for the side of a row of small panels."""

SIMULATED_TITLE = {
    "text": f"<b>{SIMULATED}</b>",
    "font": {"size": 11, "color": "#a34700"},
    "x": 0,
    "xref": "container",
    "y": 1,
    "yref": "container",
    "yanchor": "top",
    "pad": {"t": 6, "l": 4},
}
"""What an interactive figure of simulated results carries at its top left."""
