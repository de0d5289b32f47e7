"""Pool cells that differ only in ``repeat`` (and, in figures, ``seed``) into means with 95 % intervals."""

import json
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from orchestrator.analysis.axes import Axes
from orchestrator.analysis.results import column, full_config, write_table
from orchestrator.measure.statistics import group_means
from orchestrator.records.metrics import BLOCK_HALF_WIDTH, OF_CELLS
from orchestrator.records.record import CellRecord
from orchestrator.store.sweep import SweepStore

HALF = "half:"
"""Prefix of columns with the half-width of the 95 % t interval of a mean; NaN with a single repeat."""

WITHIN = "within:"
"""Prefix of half-widths within the window of a point's only cell, by its blocks; NaN if there are repeats."""

REPEAT = "repeat"
HALF_WIDTH = "half_width:"
"""Prefix of columns with the half-width of the 95 % Student t interval of a mean, in ``repeats.csv``."""


def pool(cells: pd.DataFrame, axes: Axes) -> pd.DataFrame:
    """Return one row per point: ``panel, label, cells, n``, the axes' levels, means of the metrics, their half-widths.

    Half-widths are in ``half:`` and ``within:`` columns. ``cells`` are of status ok only, after ``with_plain_levels``.
    """
    keys = [axis.key for axis in axes.all]
    group = cells.groupby(keys, sort=False, dropna=False).ngroup() if keys else pd.Series(0, index=cells.index)
    first = cells[~group.duplicated()]
    ids = [tuple(ids) for _, ids in cells["cell_id"].groupby(group, sort=False)]
    points = first[keys].assign(
        panel=[axes.panel_name(row) for _, row in first.iterrows()],
        label=[axes.point_label(row) for _, row in first.iterrows()],
        cells=pd.Series(ids, index=first.index, dtype=object),
        n=group.value_counts(sort=False).to_numpy(),
    )
    metrics = [key for key in OF_CELLS if key in cells]
    means, halves = means_and_half_widths(cells[metrics].astype(float), group)
    within = first.filter(like=BLOCK_HALF_WIDTH).rename(columns=lambda key: key.replace(BLOCK_HALF_WIDTH, WITHIN))
    alone = within.where(points["n"].eq(1), math.nan).set_axis(means.index)
    points = pd.concat([points.set_axis(means.index), means, halves.add_prefix(HALF), alone], axis=1)
    spanned = [axis.key for axis in (axes.x, axes.y) if axis is not None]
    return points.sort_values(spanned, kind="stable", ignore_index=True) if spanned else points


def means_and_half_widths(values: pd.DataFrame, group: "pd.Series[int]") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the means of the columns and the half-widths of their 95 % intervals, one row a group (`group_means`)."""
    n_groups = int(group.max()) + 1 if len(group) else 0
    means, halves = group_means(values.to_numpy(np.float64), group.to_numpy(), n_groups)
    return pd.DataFrame(means, columns=values.columns), pd.DataFrame(halves, columns=values.columns)


def shown_half_widths(points: pd.DataFrame, metric: str) -> "pd.Series[float]":
    """Return half-widths to draw: of repeats, or within the window of a point's only cell; NaN if there is neither."""
    halves = points[HALF + metric]
    return halves.fillna(points[WITHIN + metric]) if WITHIN + metric in points else halves


def metric_of(points: pd.DataFrame, *candidates: str) -> str | None:
    """Return the first candidate that at least one point has."""
    return next((key for key in candidates if key in points and points[key].notna().any()), None)


def energy_metric(points: pd.DataFrame) -> str | None:
    """Return the metric of energy per unit of work: per workflow, else per request, else per output token."""
    return metric_of(points, "gpu_energy_j_per_workflow", "gpu_energy_j_per_request", "gpu_energy_j_per_output_token")


def latency_metric(points: pd.DataFrame) -> str | None:
    """Return the metric of the duration of a unit of work: of the workflow, else of the request."""
    return metric_of(points, "median_workflow_ms", "mean_workflow_ms", "median_e2el_ms", "mean_e2el_ms")


def write_pooled(store: SweepStore) -> None:
    """Write the table as ``repeats.parquet`` and ``repeats.csv`` if some configuration has several records.

    Raises:
        EnvironmentFailure: The folder cannot be written or the disk is full.
    """
    table = pooled_table(store.records())
    if table.num_rows and max(table.column("n_repeats").to_pylist()) > 1:
        write_table(store, table, store.paths.repeats_parquet, store.paths.repeats_csv)


def pooled_table(records: Iterable[CellRecord]) -> pa.Table:
    """Return one row per configuration, in the order of the matrix.

    Columns: ``n_repeats`` (number of records), ``n_ok`` (number of records in the means), the configuration without
    ``repeat``, then the mean of every metric and, under ``half_width:<metric>``, the half-width of its 95 % Student t
    interval: null if fewer than two repeats have the metric.
    """
    groups: dict[str, list[CellRecord]] = {}
    for record in records:
        groups.setdefault(_configuration(record), []).append(record)
    rows = [_counts_and_configuration(group) for group in groups.values()]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: column([row.get(name) for row in rows]) for name in names}
    ok = [
        (number, record.metrics) for number, group in enumerate(groups.values()) for record in group if _is_ok(record)
    ]
    metrics = [key for key in OF_CELLS if any(key in of_record for _, of_record in ok)]
    values = [[of_record.get(key, math.nan) for key in metrics] for _, of_record in ok]
    group = np.array([number for number, _ in ok], dtype=np.intp)
    means, halves = group_means(np.reshape(values, (len(ok), len(metrics))), group, len(groups))
    for key, mean, half in zip(metrics, means.T, halves.T, strict=True):
        columns[key], columns[HALF_WIDTH + key] = (pa.array(each, from_pandas=True) for each in (mean, half))
    return pa.table(columns)


def _counts_and_configuration(records: Sequence[CellRecord]) -> dict[str, object]:
    config = {key: value for key, value in full_config(records[0]).items() if not isinstance(value, list)}
    config.pop(REPEAT, None)
    return {"n_repeats": len(records), "n_ok": sum(map(_is_ok, records)), **config}


def _is_ok(record: CellRecord) -> bool:
    return record.status == "ok"


def _configuration(record: CellRecord) -> str:
    """Return the configuration that repeats of a cell share."""
    return json.dumps({key: value for key, value in record.cell.items() if key != REPEAT}, sort_keys=True)
