"""Points of a figure: cells that differ only in ``repeat`` or ``seed``, pooled into a mean and a 95 % interval."""

import math

import pandas as pd

from orchestrator.metrics import METRICS
from orchestrator.report.axes import Axes

HALF = "half:"
"""Prefix of the columns that hold the half-width of the 95 % t interval of a mean; NaN where there is one repeat."""


def pool(cells: pd.DataFrame, axes: Axes) -> pd.DataFrame:
    """One row a point: ``panel, label, cells, n``, the axes' levels, means of the metrics and ``half:`` columns.

    ``cells`` holds cells of status ok only, after `with_plain_levels`.
    """
    keys = [axis.key for axis in axes.all]
    metrics = [metric.key for metric in METRICS if metric.key in cells]
    rows = []
    grouped = cells.groupby(keys, sort=False, dropna=False) if keys else [((), cells)]
    for _, group in grouped:
        if group.empty:
            continue
        first = group.iloc[0]
        row = {key: first[key] for key in keys}
        row |= {"panel": axes.panel_name(first), "label": axes.point_label(first)}
        row |= {"cells": tuple(group["cell_id"]), "n": len(group)}
        for key in metrics:
            row[key], row[HALF + key] = mean_and_half_width(pd.to_numeric(group[key]).dropna().tolist())
        rows.append(row)
    columns = ["panel", "label", "cells", "n", *keys, *metrics, *(HALF + key for key in metrics)]
    spanned = [axis.key for axis in (axes.x, axes.y) if axis is not None]
    points = pd.DataFrame(rows, columns=columns)
    return points.sort_values(spanned, kind="stable", ignore_index=True) if spanned else points


def mean_and_half_width(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % Student t interval; NaN for what the number of values does not give."""
    if not values:
        return math.nan, math.nan
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, math.nan
    from scipy.special import stdtrit

    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, float(stdtrit(len(values) - 1, 0.975)) * math.sqrt(variance / len(values))


def metric_of(points: pd.DataFrame, *candidates: str) -> str | None:
    """The first candidate that at least one point has."""
    return next((key for key in candidates if key in points and points[key].notna().any()), None)


def energy_metric(points: pd.DataFrame) -> str | None:
    """Energy of a unit of work: per workflow, else per request, else per output token."""
    return metric_of(points, "gpu_energy_j_per_workflow", "gpu_energy_j_per_request", "gpu_energy_j_per_output_token")


def latency_metric(points: pd.DataFrame) -> str | None:
    """How long a unit of work takes: the median workflow, else the median request."""
    return metric_of(points, "median_workflow_ms", "mean_workflow_ms", "median_e2el_ms", "mean_e2el_ms")
