"""Candidates: the settings of engine and hardware that a sweep tried, for each kind of work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import pyarrow as pa

from orchestrator.analysis.axes import Axes, Axis, find_axes, with_plain_levels
from orchestrator.analysis.pooling import latency_metric
from orchestrator.measure.slo import objective_metrics
from orchestrator.measure.window import Window
from orchestrator.spec.settings import Slo

_KNOB_GROUPS = ("engine", "hardware")
"""Groups of the keys to choose; all other keys are given: the work, its load, the model."""

Attainment = Mapping[str, Mapping[str, float]]
"""Metrics of ``objective_metrics`` of one cell for each variant of the objective."""

LIMITS = ("ttft_ms", "tpot_ms", "e2el_ms", "workflow_ms")
WHOLE = ""
"""Name of the whole objective among its variants; the others are named by the limit they lack."""

_PERCENTILES = {0.5: "median", 0.9: "p90", 0.95: "p95", 0.99: "p99"}
_ATTAINMENTS = ("slo_attainment_ratio", "workflow_slo_attainment_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """All ok repeats of one setting.

    ``costs`` has an entry for each repeat by (seed, repeat), ``metrics`` one in the same order. ``time_ms`` is the mean
    of the panel's ``time_metric`` to nine digits; None if a repeat lacks it.
    """

    label: str
    levels: Mapping[str, object]
    cells: tuple[str, ...]
    costs: Mapping[tuple[int, int], float]
    time_ms: float | None
    metrics: tuple[Mapping[str, float], ...]
    attainments: tuple[Attainment, ...]

    @property
    def cost(self) -> float:
        """Return the mean cost to nine digits: what differs only by the order of a summation is equal."""
        return _nine_digits(sum(self.costs.values()) / len(self.costs))

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric; None if a repeat lacks it."""
        return _mean(self.metrics, metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One kind of work: its candidates in the order of the matrix, and the number of cells that are none.

    ``knobs`` have the levels that were tried. ``time_metric`` is the duration of the work; None if no metric gives it,
    or if it is the metric to minimise.
    """

    name: str
    simulated: bool
    knobs: tuple[Axis, ...]
    time_metric: str | None
    candidates: tuple[Candidate, ...]
    n_failed: int
    n_invalid: int
    n_unmeasured: int


def candidates(
    frame: pd.DataFrame,
    metric: str,
    attainments: Mapping[str, Attainment],
    *,
    swept: Sequence[str] = (),
    by: Sequence[str] = (),
) -> tuple[Panel, ...]:
    """Return the panels of a frame of ``orchestrator.load_sweep``.

    A panel is a combination of all keys that vary apart from those of engine and hardware, and of the keys ``by``.
    Cells that differ only in seed or repeat are one candidate. ``attainments`` has an entry for each ok cell.
    """
    plain = with_plain_levels(frame)
    axes = find_axes(plain, swept)
    given = tuple(axis for axis in axes.all if axis.key in by or axis.key.partition(".")[0] not in _KNOB_GROUPS)
    names = Axes(None, None, given)
    panel = pd.Series([names.panel_name(row) for _, row in plain.iterrows()], index=plain.index)
    knobs = tuple(axis for axis in axes.all if axis not in given)
    time = latency_metric(plain)
    metrics = (metric, None if time == metric else time)
    return tuple(
        _panel(str(name), mine, metrics, attainments, knobs) for name, mine in plain.groupby(panel, sort=False)
    )


def _panel(
    name: str,
    cells: pd.DataFrame,
    metrics: tuple[str, str | None],
    attainments: Mapping[str, Attainment],
    knobs: tuple[Axis, ...],
) -> Panel:
    """Return one panel; ``metrics`` are the one to minimise and the one of time."""
    ok = cells[cells["status"] == "ok"]
    measured = ok[ok[metrics[0]].notna()]
    keys = [axis.key for axis in knobs]
    grouped = measured.groupby(keys, sort=False, dropna=False) if keys else [(None, measured)]
    return Panel(
        name=name,
        simulated=bool(cells["simulated"].any()),
        knobs=tuple(_tried(axis, cells) for axis in knobs),
        time_metric=metrics[1],
        candidates=tuple(_candidate(mine, metrics, attainments, knobs) for _, mine in grouped if len(mine)),
        n_failed=int((cells["status"] == "failed").sum()),
        n_invalid=int((cells["status"] == "invalid").sum()),
        n_unmeasured=len(ok) - len(measured),
    )


def _tried(axis: Axis, cells: pd.DataFrame) -> Axis:
    """Return the axis with the levels of these cells, of any status."""
    levels = set(cells[axis.key])
    return replace(axis, levels=tuple(level for level in axis.levels if level in levels))


def _candidate(
    cells: pd.DataFrame,
    metrics: tuple[str, str | None],
    attainments: Mapping[str, Attainment],
    knobs: tuple[Axis, ...],
) -> Candidate:
    metric, time = metrics
    first = cells.iloc[0]
    ids = tuple(cells["cell_id"])
    numeric = cells.select_dtypes("number")
    repeats = tuple({str(key): float(row[key]) for key in row.index[row.notna()]} for _, row in numeric.iterrows())
    time_ms = None if time is None else _mean(repeats, time)
    return Candidate(
        label=", ".join(axis.label(first[axis.key]) for axis in knobs) or "only one setting was tried",
        levels={axis.key: _plain(first[axis.key]) for axis in knobs},
        cells=ids,
        costs={
            (int(seed), int(repeat)): float(cost)
            for seed, repeat, cost in zip(cells["seed"], cells["repeat"], cells[metric], strict=True)
        },
        time_ms=None if time_ms is None else _nine_digits(time_ms),
        metrics=repeats,
        attainments=tuple(attainments[cell_id] for cell_id in ids),
    )


def _mean(repeats: Sequence[Mapping[str, float]], metric: str) -> float | None:
    values = [metrics[metric] for metrics in repeats if metric in metrics]
    return sum(values) / len(values) if values and len(values) == len(repeats) else None


def _nine_digits(value: float) -> float:
    return float(f"{value:.9g}")


def _plain(level: object) -> object:
    """Return a numpy scalar as a plain Python value."""
    return level.item() if hasattr(level, "item") else level


def limits_of(slo: Slo) -> dict[str, float]:
    """Return the limits that are set, by name. Units: ms."""
    limits = {name: getattr(slo, name) for name in LIMITS}
    return {name: limit for name, limit in limits.items() if limit is not None}


def variants(slo: Slo) -> dict[str, Slo]:
    """Return the objective, and the objective without each of its limits."""
    return {WHOLE: slo} | {name: slo.model_copy(update={name: None}) for name in limits_of(slo)}


def attainment(series: Mapping[str, pa.Table], window: Window, slo: Slo) -> Attainment:
    """Return the attainment of a cell for every variant; ``series`` needs ``requests`` and ``steps``."""
    return {name: objective_metrics(series, window, variant) for name, variant in variants(slo).items()}


def pooled(attainments: Sequence[Attainment], variant: str) -> dict[str, float]:
    """Return the attained shares of a variant, averaged over repeats; without those that a repeat lacks."""
    return {
        key: sum(one[variant][key] for one in attainments) / len(attainments)
        for key in _ATTAINMENTS
        if all(key in one[variant] for one in attainments)
    }


def share(attainments: Sequence[Attainment]) -> float:
    """Return the smaller of the shares of requests and of workflows within the limits; 0 if there is neither."""
    return min(pooled(attainments, WHOLE).values(), default=0.0)


def percentile_key(limit: str, slo: Slo) -> str | None:
    """Return the metric of the latency at which the share is reached, such as ``p99_ttft_ms``, or None."""
    word = _PERCENTILES.get(slo.attainment_ratio)
    return f"{word}_{limit}" if word is not None else None
