"""The one place where raw series become metrics and a verdict."""

from dataclasses import dataclass

import pyarrow as pa

from orchestrator.cell import Cell
from orchestrator.measure.columns import Columns
from orchestrator.measure.energy import energy_metrics, energy_ratios, energy_reasons
from orchestrator.measure.latency import request_metrics, workflow_metrics
from orchestrator.measure.tenants import attributed_energy, tenant_metrics
from orchestrator.measure.window import Window, find_window, window_reasons
from orchestrator.measure.workflows import workflow_times
from orchestrator.record import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the series of a cell say: the window, the metrics over it, and why they must not be pooled, if so."""

    window: Window
    metrics: dict[str, float]
    reasons: tuple[Reason, ...]


def summarise(cell: Cell, series: dict[str, pa.Table]) -> Summary:
    """Window, metrics and validity of a cell; a pure function of its raw series (`orchestrator.series.SCHEMAS`)."""
    requests, steps, iterations, power = (
        Columns(series[name]) for name in ("requests", "steps", "iterations", "power")
    )
    window = find_window(cell, requests=requests, steps=steps, iterations=iterations)
    metrics = {"window_s": window.length_s}
    metrics |= request_metrics(requests, iterations, window)
    metrics |= workflow_metrics(workflow_times(requests, steps), window)
    metrics |= energy_metrics(power, requests, iterations, window)
    metrics |= energy_ratios(metrics)
    metrics |= attributed_energy(requests, window)
    metrics |= tenant_metrics(series, window)
    reasons = window_reasons(window, cell.protocol.min_window_s) + energy_reasons(metrics)
    return Summary(window=window, metrics=metrics, reasons=reasons)
