"""The one place where raw series become metrics and a verdict."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from orchestrator.measure.answers import answer_reasons
from orchestrator.measure.batches import batch_metrics
from orchestrator.measure.blocks import block_metrics
from orchestrator.measure.client import client_reasons, send_delay_metrics
from orchestrator.measure.columns import Columns
from orchestrator.measure.cpu import cpu_energy_metrics
from orchestrator.measure.energy import energy_ratios, energy_reasons
from orchestrator.measure.extent import repetition_metrics
from orchestrator.measure.gpus import GpuSummary, summarise_gpus
from orchestrator.measure.latency import request_metrics, workflow_metrics
from orchestrator.measure.roles import role_metrics
from orchestrator.measure.tenants import attributed_energy, tenant_metrics
from orchestrator.measure.window import Window, find_window, window_reasons
from orchestrator.measure.workflows import workflow_times
from orchestrator.records.record import Reason
from orchestrator.records.series import SCHEMAS
from orchestrator.spec.cell import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the series of a cell say: the window, the metrics over it, and why they must not be pooled, if so.

    ``energy_source`` says where the energy is from (`orchestrator.measure.energy`); None where there is none.
    """

    window: Window
    metrics: dict[str, float]
    reasons: tuple[Reason, ...]
    energy_source: str | None = None


def summarise(cell: Cell, series: Mapping[str, pa.Table]) -> Summary:
    """Window, metrics and validity of a cell; a pure function of its raw series (`records.series.SCHEMAS`).

    ``requests`` and ``steps`` are always there; what else is not was not recorded, and has no metrics.
    """
    found = {name: Columns(series.get(name, SCHEMAS[name].empty_table())) for name in SCHEMAS}
    requests, steps, iterations, tokens = (found[name] for name in ("requests", "steps", "iterations", "tokens"))
    window = find_window(cell, requests=requests, steps=steps, iterations=iterations)
    metrics = {"window_s": window.length_s, **repetition_metrics(cell, steps)}
    metrics |= request_metrics(requests, tokens, iterations, window)
    metrics |= workflow_metrics(workflow_times(requests, steps), window)
    metrics |= send_delay_metrics(requests, steps, window)
    gpus = summarise_gpus(cell, found, window)
    metrics |= gpus.metrics
    metrics |= batch_metrics(iterations, window)
    metrics |= cpu_energy_metrics(found["cpu_power"], window)
    metrics |= energy_ratios(metrics)
    metrics |= attributed_energy(requests, window)
    metrics |= role_metrics(requests, window)
    metrics |= tenant_metrics(series, window)
    metrics |= block_metrics(window, metrics, gpus.energies, found, cell.protocol)
    return Summary(
        window=window,
        metrics=metrics,
        reasons=_reasons(cell, requests, window, metrics, gpus),
        energy_source=gpus.source,
    )


def _reasons(
    cell: Cell, requests: Columns, window: Window, metrics: dict[str, float], gpus: GpuSummary
) -> tuple[Reason, ...]:
    return (
        *window_reasons(window, cell.protocol.min_window_s),
        *client_reasons(metrics, cell.protocol.max_send_delay_ms),
        *answer_reasons(requests, window),
        *gpus.reasons,
        *energy_reasons(metrics, cell.protocol),
    )
