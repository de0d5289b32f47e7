"""The one place where raw series become metrics and a verdict."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from orchestrator.cell import Cell
from orchestrator.measure.batches import batch_metrics
from orchestrator.measure.client import client_reasons, send_delay_metrics
from orchestrator.measure.columns import Columns
from orchestrator.measure.energy import energy_metrics, energy_ratios, energy_reasons
from orchestrator.measure.latency import request_metrics, workflow_metrics
from orchestrator.measure.tenants import attributed_energy, tenant_metrics
from orchestrator.measure.window import Window, find_window, window_reasons
from orchestrator.measure.workflows import workflow_times
from orchestrator.record import Reason
from orchestrator.series import SCHEMAS


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the series of a cell say: the window, the metrics over it, and why they must not be pooled, if so."""

    window: Window
    metrics: dict[str, float]
    reasons: tuple[Reason, ...]


def summarise(cell: Cell, series: Mapping[str, pa.Table]) -> Summary:
    """Window, metrics and validity of a cell; a pure function of its raw series (`orchestrator.series.SCHEMAS`).

    ``requests`` and ``steps`` are always there; what else is not was not recorded, and has no metrics.
    """
    requests, steps, iterations, power, tokens = (
        Columns(series.get(name, SCHEMAS[name].empty_table()))
        for name in ("requests", "steps", "iterations", "power", "tokens")
    )
    window = find_window(cell, requests=requests, steps=steps, iterations=iterations)
    metrics = {"window_s": window.length_s}
    metrics |= request_metrics(requests, tokens, iterations, window)
    metrics |= workflow_metrics(workflow_times(requests, steps), window)
    metrics |= send_delay_metrics(requests, steps, window)
    metrics |= energy_metrics(power, requests, window)
    metrics |= batch_metrics(iterations, window)
    metrics |= energy_ratios(metrics)
    metrics |= attributed_energy(requests, window)
    metrics |= tenant_metrics(series, window)
    reasons = (
        *window_reasons(window, cell.protocol.min_window_s),
        *energy_reasons(metrics),
        *client_reasons(metrics, cell.protocol.max_send_delay_ms),
    )
    return Summary(window=window, metrics=metrics, reasons=reasons)
