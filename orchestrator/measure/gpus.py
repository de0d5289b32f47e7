"""All that the samples of the GPUs say of a window: energy, clocks, limits, and whether any of it can be believed."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.measure.aliasing import aliasing_metrics, aliasing_reasons
from orchestrator.measure.clocks import clock_metrics, throttling_reasons
from orchestrator.measure.columns import Columns
from orchestrator.measure.energy import energy_metrics, energy_source
from orchestrator.measure.gpu_energy import GpuEnergy, gpu_energy
from orchestrator.measure.knobs import cap_metrics, knob_reasons
from orchestrator.measure.neighbours import neighbour_reasons, sharing_reasons
from orchestrator.measure.plausibility import counter_reasons, power_reasons
from orchestrator.measure.samples import by_device
from orchestrator.measure.sampling import sampling_metrics, sampling_reasons
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell

NOT_SAMPLED = ("simulated", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSummary:
    """``source`` says what the energy is of; None where there is none. ``energies`` are those of each GPU."""

    metrics: dict[str, float]
    reasons: tuple[Reason, ...]
    source: str | None
    energies: tuple[GpuEnergy, ...]


def summarise_gpus(cell: Cell, series: Mapping[str, Columns], window: Window) -> GpuSummary:
    """Metrics and reasons from ``power``, ``sensor_events`` and ``gpu_processes``; what is computed needs no sensor."""
    requests, iterations = series["requests"], series["iterations"]
    samples = by_device(series["power"])
    energies = tuple(gpu_energy(gpu, computed=cell.collectors.power == "simulated") for gpu in samples)
    metrics = energy_metrics(energies, requests, window)
    metrics |= cap_metrics(samples, cell, window, metrics)
    source = energy_source(energies, window)
    if cell.collectors.power in NOT_SAMPLED or window.length_s == 0:
        return GpuSummary(metrics=metrics, reasons=(), source=source, energies=energies)
    metrics |= sampling_metrics(samples, window)
    metrics |= clock_metrics(samples, requests, window)
    metrics |= aliasing_metrics(energies, iterations, window, metrics)
    of_sensor = (
        *sampling_reasons(cell, samples, series["sensor_events"], window),
        *counter_reasons(energies, window),
        *power_reasons(cell, samples, window),
    )
    reasons = (
        *of_sensor,
        *aliasing_reasons(metrics, believed=not of_sensor),
        *throttling_reasons(metrics, cell.protocol),
        *sharing_reasons(series["sensor_events"]),
        *neighbour_reasons(series["gpu_processes"], window),
        *knob_reasons(cell, samples, requests, window),
    )
    return GpuSummary(metrics=metrics, reasons=reasons, source=source, energies=energies)
