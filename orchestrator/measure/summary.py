"""Summary of a cell: the only place where raw series become a window, metrics and reasons of invalidity."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from orchestrator.measure.aliasing import aliasing_metrics, aliasing_reasons
from orchestrator.measure.blocks import block_metrics
from orchestrator.measure.breakdown import attributed_energy, role_metrics, tenant_metrics
from orchestrator.measure.columns import Columns, by_device
from orchestrator.measure.energy import cpu_energy_metrics, energy_metrics, energy_ratios, energy_reasons, energy_source
from orchestrator.measure.gpu_energy import GpuEnergy, gpu_energy
from orchestrator.measure.iterations import batch_metrics
from orchestrator.measure.latency import (
    answer_reasons,
    client_reasons,
    request_metrics,
    send_delay_metrics,
    workflow_metrics,
    workflow_times,
)
from orchestrator.measure.limits import cap_metrics, clock_metrics, knob_reasons, throttling_reasons
from orchestrator.measure.sensor_checks import (
    counter_reasons,
    neighbour_reasons,
    power_reasons,
    sampling_metrics,
    sampling_reasons,
    sharing_reasons,
)
from orchestrator.measure.window import Window, find_window, repetition_metrics, window_reasons
from orchestrator.records.record import Reason
from orchestrator.records.series import SCHEMAS
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import COMPUTED_POWER, NO_POWER

_NOT_SAMPLED = (COMPUTED_POWER, NO_POWER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The window of a cell, the metrics over it, and the reasons why they must not be pooled, if any.

    ``energy_source`` is where the energy comes from (`orchestrator.measure.energy`); None without energy.
    """

    window: Window
    metrics: dict[str, float]
    reasons: tuple[Reason, ...]
    energy_source: str | None = None


def summarise(cell: Cell, series: Mapping[str, pa.Table]) -> Summary:
    """Return window, metrics and validity of a cell; a pure function of its raw series (`records.series.SCHEMAS`).

    ``requests`` and ``steps`` are required. A series that is absent was not recorded and gives no metrics.
    """
    columns = {name: Columns(series.get(name, SCHEMAS[name].empty_table())) for name in SCHEMAS}
    requests, steps, iterations, tokens = (columns[name] for name in ("requests", "steps", "iterations", "tokens"))
    window = find_window(cell, requests=requests, steps=steps, iterations=iterations)
    metrics = {"window_s": window.length_s, **repetition_metrics(cell, steps)}
    metrics |= request_metrics(requests, tokens, iterations, window)
    metrics |= workflow_metrics(workflow_times(requests, steps), window)
    metrics |= send_delay_metrics(requests, steps, window)
    gpus = _summarise_gpus(cell, columns, window)
    metrics |= gpus.metrics
    metrics |= batch_metrics(iterations, window)
    metrics |= cpu_energy_metrics(columns["cpu_power"], window)
    metrics |= energy_ratios(metrics)
    metrics |= attributed_energy(requests, window)
    metrics |= role_metrics(requests, window)
    metrics |= tenant_metrics(series, window)
    metrics |= block_metrics(window, metrics, gpus.energies, columns, cell.protocol)
    return Summary(
        window=window,
        metrics=metrics,
        reasons=_reasons(cell, requests, window, metrics, gpus),
        energy_source=gpus.source,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _GpuSummary:
    """Metrics and reasons from the GPUs' sensors. ``source`` as in `Summary.energy_source`; ``energies`` by GPU."""

    metrics: dict[str, float]
    reasons: tuple[Reason, ...]
    source: str | None
    energies: tuple[GpuEnergy, ...]


def _reasons(
    cell: Cell, requests: Columns, window: Window, metrics: dict[str, float], gpus: _GpuSummary
) -> tuple[Reason, ...]:
    return (
        *window_reasons(window, cell.protocol.min_window_s),
        *client_reasons(metrics, cell.protocol.max_send_delay_ms),
        *answer_reasons(requests, window),
        *gpus.reasons,
        *energy_reasons(metrics, cell.protocol),
    )


def _summarise_gpus(cell: Cell, series: Mapping[str, Columns], window: Window) -> _GpuSummary:
    """Return metrics and reasons from ``power``, ``sensor_events`` and ``gpu_processes``.

    Computed power has no checks.
    """
    requests, iterations = series["requests"], series["iterations"]
    samples = by_device(series["power"])
    energies = tuple(gpu_energy(gpu, computed=cell.collectors.power == COMPUTED_POWER) for gpu in samples)
    metrics = energy_metrics(energies, requests, window)
    metrics |= cap_metrics(samples, cell, window, metrics)
    source = energy_source(energies, window)
    if cell.collectors.power in _NOT_SAMPLED or window.length_s == 0:
        return _GpuSummary(metrics=metrics, reasons=(), source=source, energies=energies)
    metrics |= sampling_metrics(samples, window)
    metrics |= clock_metrics(samples, requests, window)
    metrics |= aliasing_metrics(energies, iterations, window, metrics)
    sensor_reasons = (
        *sampling_reasons(cell, samples, series["sensor_events"], window),
        *counter_reasons(energies, window),
        *power_reasons(cell, samples, window),
    )
    reasons = (
        *sensor_reasons,
        *aliasing_reasons(metrics, believed=not sensor_reasons),
        *throttling_reasons(metrics, cell.protocol),
        *sharing_reasons(series["sensor_events"]),
        *neighbour_reasons(series["gpu_processes"], window),
        *knob_reasons(cell, samples, requests, window),
    )
    return _GpuSummary(metrics=metrics, reasons=reasons, source=source, energies=energies)
