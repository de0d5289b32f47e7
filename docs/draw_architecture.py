"""``make architecture``: the table of packages in ARCHITECTURE.md and its drawing, both made from the imports.

The order is that of the layers in pyproject.toml, the description of a package the first line of its docstring. The
drawing leaves out an arrow that follows from others (transitive reduction); the table has every import.
"""

import ast
import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import grimp
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as MplPath

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
DRAWING = ROOT / "docs" / "images" / "architecture.svg"
BEGIN, END = "<!-- begin: make architecture -->", "<!-- end: make architecture -->"

_LEAVES = ("collectors", "workflows")
_BOX_WIDTH, _BOX_HEIGHT, _ROW_HEIGHT, _BEND_WIDTH = 1.25, 0.42, 0.9, 0.3
_SWEEPS = 12
_STYLE = {"svg.hashsalt": "joulegrid", "svg.fonttype": "none", "font.family": "sans-serif"}

Imports = dict[str, set[str]]
"""The packages that each package imports, by short name."""


@dataclass(frozen=True, slots=True)
class Package:
    """One row of the table: ``imports`` are the packages below that it uses, in the order of the layers."""

    name: str
    purpose: str
    imports: tuple[str, ...]


def packages() -> tuple[Package, ...]:
    """Return the packages from top to bottom, as the code is now."""
    order = _layers()
    graph = grimp.build_graph("orchestrator", *_LEAVES, cache_dir=None)
    return tuple(
        Package(
            name=name,
            purpose=_purpose(name),
            imports=tuple(other for other in order if other != name and _imports(graph, name, other)),
        )
        for name in order
    )


def _layers() -> tuple[str, ...]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if "containers" in contract)
    return (*(name for name in layers if name != "__main__"), *_LEAVES)


def _dotted(name: str) -> str:
    return name if name in _LEAVES else f"orchestrator.{name}"


def _imports(graph: grimp.ImportGraph, importer: str, imported: str) -> bool:
    return graph.direct_import_exists(importer=_dotted(importer), imported=_dotted(imported), as_packages=True)


def _path(name: str) -> Path:
    return ROOT.joinpath(*_dotted(name).split("."))


def _purpose(name: str) -> str:
    folder = _path(name)
    source = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    return (ast.get_docstring(ast.parse(source.read_text())) or "").splitlines()[0]


def table(rows: tuple[Package, ...]) -> str:
    """Return the section between the markers of the page, markers included."""
    head = "| package | owns | imports |\n|---|---|---|"
    lines = [
        f"| `{row.name}` | {row.purpose.replace('``', '`')} | {', '.join(row.imports) or 'nothing of ours'} |"
        for row in rows
    ]
    return "\n".join([BEGIN, head, *lines, END])


def reduced(imports: Imports) -> Imports:
    """Return the imports without those that follow from others; ``imports`` has no circle."""
    reach: Imports = {}

    def reachable(name: str) -> set[str]:
        if name not in reach:
            reach[name] = set().union(*({other} | reachable(other) for other in imports[name]))
        return reach[name]

    return {name: {b for b in uses if not any(b in reachable(c) for c in uses - {b})} for name, uses in imports.items()}


def rows_of(imports: Imports) -> dict[str, int]:
    """Return the row of each package, 0 at the bottom: the longest way down."""
    row: dict[str, int] = {}

    def find(name: str) -> int:
        if name not in row:
            row[name] = 1 + max((find(other) for other in sorted(imports[name])), default=-1)
        return row[name]

    for name in imports:
        find(name)
    return row


def routes(imports: Imports) -> list[tuple[str, ...]]:
    """Return each arrow as the points it passes, one a row: packages at its ends, bends (``a>b@row``) between."""
    row = rows_of(imports)
    return [
        (name, *(f"{name}>{other}@{level}" for level in range(row[name] - 1, row[other], -1)), other)
        for name, uses in imports.items()
        for other in sorted(uses)
    ]


def places(imports: Imports) -> dict[str, tuple[float, float]]:
    """Return the centre of every package and bend; a row is ordered by the mean position of the ends of its arrows."""
    row = rows_of(imports)
    levels: list[list[str]] = [[] for _ in range(max(row.values()) + 1)]
    tied: dict[str, list[str]] = {name: [] for name in imports}
    for name, level in row.items():
        levels[level].append(name)
    for route in routes(imports):
        for step, (upper, lower) in enumerate(pairwise(route)):
            tied.setdefault(upper, []).append(lower)
            tied.setdefault(lower, []).append(upper)
            if step:
                levels[row[route[0]] - step].append(upper)
    x = {name: position for level in levels for name, position in _spread(level).items()}
    for _ in range(_SWEEPS):
        for level in (*levels, *reversed(levels)):
            level.sort(key=lambda name: sum(x[other] for other in tied[name]) / max(1, len(tied[name])))
            x.update(_spread(level))
    return {name: (x[name], index * _ROW_HEIGHT) for index, level in enumerate(levels) for name in level}


def _spread(level: list[str]) -> dict[str, float]:
    """Return the middles of the places of a row, centred at 0; a bend is narrow."""
    widths = [_BEND_WIDTH if "@" in name else _BOX_WIDTH + 0.3 for name in level]
    starts = np.concatenate([[0.0], np.cumsum(widths)]) - sum(widths) / 2
    return {name: float(start + width / 2) for name, start, width in zip(level, starts, widths, strict=False)}


def draw(rows: tuple[Package, ...]) -> None:
    """Write the drawing."""
    arrows = reduced({row.name: set(row.imports) for row in rows})
    centres = places(arrows)
    span = np.ptp(np.array(list(centres.values())), axis=0)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(float(span[0]) + _BOX_WIDTH, float(span[1]) + 1.2), layout="tight")
        axes = figure.add_subplot()
        for route in routes(arrows):
            _arrow(axes, [centres[point] for point in route])
        for name in arrows:
            _box(axes, name, centres[name])
        axes.autoscale_view()
        axes.set_axis_off()
        figure.savefig(DRAWING, metadata={"Date": None})


def _box(axes: Axes, name: str, centre: tuple[float, float]) -> None:
    x, y = centre
    face = "#fdebc8" if name in _LEAVES else "#dcebf7"
    corner = (x - _BOX_WIDTH / 2, y - _BOX_HEIGHT / 2)
    axes.add_patch(
        FancyBboxPatch(corner, _BOX_WIDTH, _BOX_HEIGHT, boxstyle="round,pad=0.02", fc=face, ec="#33475b", zorder=2)
    )
    axes.text(x, y, name, ha="center", va="center", fontsize=11, zorder=3)


def _arrow(axes: Axes, points: list[tuple[float, float]]) -> None:
    """Draw one arrow from the lower edge of a box through its bends to the upper edge of another."""
    (x0, y0), *bends, (x1, y1) = points
    vertices = [(x0, y0 - _BOX_HEIGHT / 2), *bends, (x1, y1 + _BOX_HEIGHT / 2 + 0.04)]
    path = MplPath(vertices, [MplPath.MOVETO] + [MplPath.LINETO] * (len(vertices) - 1))
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=11, color="#7a8b99", lw=1.1, zorder=1))


def main() -> None:
    """Write table and drawing."""
    rows = packages()
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + table(rows) + rest.partition(END)[2])
    draw(rows)


if __name__ == "__main__":
    main()
