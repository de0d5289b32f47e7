"""The phases of a cell on a loaded engine: limits, cooldown, warmup, idle, measure, drain."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow as pa

from orchestrator.errors import CellError
from orchestrator.measure.window import extent_of
from orchestrator.monitor.base import LatestSamples, Monitor, Prepared
from orchestrator.records.record import Phase, Reason
from orchestrator.serving.engine import LoadedEngine
from orchestrator.serving.gc import settle_memory
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import ProtocolSpec
from orchestrator.spec.workload import build_source
from workflows.clock import Clock, sleep_until
from workflows.drive import WorkflowSpan, drive
from workflows.execute import Execute
from workflows.warm_up import warm_up

_TEMPERATURE_PERIOD_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRun:
    """The raw outcome of one run of a cell.

    Times of ``spans`` are on the cell's clock; those of the ``series`` of engine and monitor count from ``origin_s``,
    when the idle phase began. ``preparation`` are the phases before it. ``control`` is that of
    `orchestrator.monitor.base.Prepared`; ``reasons`` say why the cell did not begin as its protocol says.
    """

    spans: tuple[WorkflowSpan, ...]
    series: dict[str, pa.Table]
    origin_s: float
    provenance: Mapping[str, Any] = field(default_factory=dict)
    preparation: tuple[Phase, ...] = ()
    control: dict[str, Any] | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All phases, in order. The drain begins with the last arrival. Times count from the origin."""
        first_s = min(step.completion.submitted_s for span in self.spans for step in span.steps) - self.origin_s
        last_arrival_s = max(span.arrival_s for span in self.spans) - self.origin_s
        end_s = max(span.finished_s for span in self.spans) - self.origin_s
        edges_s = pairwise((0.0, first_s, last_arrival_s, end_s))
        names = ("idle", "measure", "drain")
        return (*self.preparation, *(_phase(name, edges) for name, edges in zip(names, edges_s, strict=True)))


async def run_phases(
    cell: Cell, engine: LoadedEngine, clock: Clock, execute: Execute, monitor: Monitor, *, provenance: Mapping[str, Any]
) -> CellRun:
    """Run all phases of a cell on a started engine.

    ``execute`` runs one workflow on the engine; ``provenance`` holds facts of the engine from its start.

    Raises:
        CellError: The workflow, the engine or the GPUs refuse the cell.
        InfrastructureError: The engine or its GPUs were lost.
    """
    prepared, edges_of, reasons = await prepare(cell, engine, clock, execute, monitor)
    if cell.engine.clock == "wall":
        settle_memory()
    origin_s = clock.now_s()
    await engine.begin(cell, origin_s)
    await sleep_until(clock, clock.now_s() + cell.protocol.idle_baseline_s)
    spans = await measure(cell, clock, execute)
    series = await engine.series()
    end_s = max(span.finished_s for span in spans)
    return CellRun(
        spans=spans,
        series={**series, **await monitor.series(cell, origin_s, end_s, series)},
        origin_s=origin_s,
        provenance={**provenance, **prepared.provenance},
        preparation=tuple(_phase(name, (a - origin_s, b - origin_s)) for name, (a, b) in edges_of.items()),
        control=prepared.control,
        reasons=reasons,
    )


def _phase(name: str, edges_s: tuple[float, float]) -> Phase:
    return Phase(name=name, start_s=edges_s[0], end_s=edges_s[1])


async def prepare(
    cell: Cell, engine: LoadedEngine, clock: Clock, execute: Execute, monitor: Monitor
) -> tuple[Prepared, dict[str, tuple[float, float]], tuple[Reason, ...]]:
    """Set the limits, let the GPUs cool down, then warm up with work of the cell's kind.

    Returns:
        What the monitor did; start and end on the clock of each phase that took place; and why the cell does not
        begin as its protocol says.
    """
    edges_s = [clock.now_s()]
    prepared = await monitor.prepare(cell)
    edges_s.append(clock.now_s())
    reasons = (*prepared.reasons, *await cool_down(cell, monitor, prepared, clock))
    edges_s.append(clock.now_s())
    await _warm_up(cell, engine, clock, execute)
    edges_s.append(clock.now_s())
    has = {"limits": prepared.control is not None, "cooldown": _cools_down(cell), "warmup": cell.protocol.warms_up}
    edges_of = {name: edges for name, edges in zip(has, pairwise(edges_s), strict=True) if has[name]}
    return prepared, edges_of, reasons


async def cool_down(cell: Cell, monitor: Monitor, prepared: Prepared, clock: Clock) -> tuple[Reason, ...]:
    """Wait until every sampled GPU is cool enough, at most ``protocol.cooldown_timeout_s``.

    Returns:
        Why the cell begins too warm; empty if it does not.
    """
    if not _cools_down(cell):
        return ()
    protocol = cell.protocol
    deadline_s = clock.now_s() + protocol.cooldown_timeout_s
    while (detail := _too_warm(await monitor.latest(), protocol, prepared.first_temperature_c)) is not None:
        if clock.now_s() >= deadline_s:
            detail = f"{detail}; protocol.cooldown_timeout_s is {protocol.cooldown_timeout_s:g}"
            return (Reason(code="not_cooled_down", detail=detail, transient=True),)
        await sleep_until(clock, min(deadline_s, clock.now_s() + _TEMPERATURE_PERIOD_S))
    return ()


def _cools_down(cell: Cell) -> bool:
    return cell.protocol.cools_down and cell.collectors.samples_gpus


def _too_warm(latest: LatestSamples, protocol: ProtocolSpec, first_c: Mapping[str, float]) -> str | None:
    """Describe the GPUs that are not known to be cool enough; None if all are.

    ``first_c`` are the temperatures below the band, by device; a device without one has only ``cooldown_below_c``.
    """
    if not latest:
        return "no GPU has a temperature reading"
    details = []
    for device, row in latest.items():
        at_c, limit_c = row.get("temperature_c", math.nan), _limit_c(protocol, first_c.get(device))
        if not at_c <= limit_c:
            temperature = "an unknown temperature" if math.isnan(at_c) else f"{at_c:g} °C"
            details.append(f"{device} is at {temperature}, to be at most {limit_c:g} °C")
    return ", ".join(details) or None


def _limit_c(protocol: ProtocolSpec, first_c: float | None) -> float:
    below_c = math.inf if protocol.cooldown_below_c is None else protocol.cooldown_below_c
    if protocol.cooldown_band_c is None or first_c is None:
        return below_c
    return min(below_c, first_c + protocol.cooldown_band_c)


async def _warm_up(cell: Cell, engine: LoadedEngine, clock: Clock, execute: Execute) -> None:
    """Run the warm-up of the protocol, if any. The engine's caches hold it, so `LoadedEngine.begin` must follow."""
    protocol = cell.protocol
    if not protocol.warms_up:
        return
    await engine.begin(cell, clock.now_s())
    with _workflow_errors(cell):
        await warm_up(
            build_source(cell, cell.warmup_seed),
            cell.load,
            execute=execute,
            clock=clock,
            seed=cell.warmup_seed,
            n_workflows=protocol.warmup_workflows,
            duration_s=protocol.warmup_s,
        )


async def measure(cell: Cell, clock: Clock, execute: Execute) -> tuple[WorkflowSpan, ...]:
    """Run the load of the cell to the end of its last workflow.

    Raises:
        CellError: The workflow or the engine refuses it.
        InfrastructureError: The engine was lost.
    """
    with _workflow_errors(cell):
        return await drive(
            build_source(cell, cell.workload_seed),
            cell.load,
            execute=execute,
            clock=clock,
            seed=cell.workload_seed,
            extent=extent_of(cell, clock),
        )


@contextmanager
def _workflow_errors(cell: Cell) -> Iterator[None]:
    """Raise a `ValueError` of the cell's workflow as a `CellError`."""
    try:
        yield
    except ValueError as error:
        raise CellError(f"workflow {cell.workflow.kind}: {error}") from error
