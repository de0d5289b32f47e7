"""A cell on a loaded engine: its phases, its raw series, its result. Which engine, and where, is not known here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow as pa

from orchestrator import plugins
from orchestrator.errors import CellError
from orchestrator.measure.window import extent_of
from orchestrator.monitor.base import Meter, Prepared
from orchestrator.records.record import Phase, Reason
from orchestrator.serving.engine import LoadedEngine
from orchestrator.serving.gc import settle_memory
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import ProtocolSpec
from workflows.clock import Clock, sleep_until
from workflows.drive import WorkflowSpan, drive
from workflows.execute import Execute
from workflows.warm_up import warm_up

_LOOK_EVERY_S = 0.5

Rows = Mapping[str, Mapping[str, float]]
"""Samples by device, as `Meter.latest` gives them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What one pass over the load left behind; times of spans are on the cell's clock, ``series`` from its origin.

    ``before`` are the phases that came before the origin; ``control`` is that of `orchestrator.monitor.base.Prepared`,
    ``reasons`` say why the cell did not begin as it should.
    """

    spans: tuple[WorkflowSpan, ...]
    series: dict[str, pa.Table]
    origin_s: float
    provenance: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[Phase, ...] = ()
    control: dict[str, Any] | None = None
    reasons: tuple[Reason, ...] = ()


async def observe(
    cell: Cell, engine: LoadedEngine, clock: Clock, execute: Execute, meter: Meter, *, provenance: Mapping[str, Any]
) -> Observed:
    """Set what the cell asks for, begin it on the engine, measure idle, drive the load to its end, take the samples.

    Args:
        cell: what to run.
        engine: started.
        clock: the cell's.
        execute: runs one workflow on the engine.
        meter: of the hardware the engine is on.
        provenance: what the engine said of itself when it was started.

    Raises:
        CellError: the workflow, the engine or the GPUs refuse the cell.
        InfrastructureError: the engine or its GPUs were lost.
    """
    prepared, before, reasons = await _made_ready(cell, engine, clock, execute, meter)
    if cell.engine.clock == "wall":
        settle_memory()
    origin_s = clock.now_s()
    await engine.begin(cell, origin_s)
    await sleep_until(clock, clock.now_s() + cell.protocol.idle_baseline_s)
    try:
        source = plugins.part("workflows.library", cell.workflow.kind, "build")(cell.workflow, seed=cell.workload_seed)
        spans = await drive(
            source,
            cell.load,
            execute=execute,
            clock=clock,
            seed=cell.workload_seed,
            extent=extent_of(cell, clock),
        )
    except ValueError as error:
        raise CellError(f"workflow {cell.workflow.kind}: {error}") from error
    series = await engine.series()
    end_s = max(span.finished_s for span in spans)
    return Observed(
        spans=spans,
        series={**series, **await meter.series(cell, origin_s, end_s, series)},
        origin_s=origin_s,
        provenance={**provenance, **prepared.provenance},
        before=tuple(
            Phase(name=name, start_s=start_s - origin_s, end_s=stop_s - origin_s) for name, start_s, stop_s in before
        ),
        control=prepared.control,
        reasons=reasons,
    )


async def _made_ready(
    cell: Cell, engine: LoadedEngine, clock: Clock, execute: Execute, meter: Meter
) -> tuple[Prepared, list[tuple[str, float, float]], tuple[Reason, ...]]:
    """Limits set, GPUs cool, then warm with work of the cell's kind.

    Returns:
        What the meter did, the phases that were gone through as (name, start, end) on the clock, and why the cell does
        not begin as it should.
    """
    edges_s = [clock.now_s()]
    prepared = await meter.prepare(cell)
    edges_s.append(clock.now_s())
    reasons = (*prepared.reasons, *await cool_down(cell, meter, prepared, clock))
    edges_s.append(clock.now_s())
    warmed = await warmed_up(cell, engine, clock, execute)
    edges_s.append(clock.now_s())
    cools = cell.protocol.cools_down and cell.collectors.samples_gpus
    gone_through = {"limits": prepared.control is not None, "cooldown": cools, "warmup": warmed}
    phases = zip(gone_through.items(), pairwise(edges_s), strict=True)
    return prepared, [(name, *edges) for (name, there), edges in phases if there], reasons


async def cool_down(cell: Cell, meter: Meter, prepared: Prepared, clock: Clock) -> tuple[Reason, ...]:
    """Wait until every GPU that is sampled is cool enough, at most ``protocol.cooldown_timeout_s``.

    Returns:
        Why the cell begins warmer than was asked for; empty if it does not.
    """
    protocol = cell.protocol
    if not protocol.cools_down or not cell.collectors.samples_gpus:
        return ()
    give_up_s = clock.now_s() + protocol.cooldown_timeout_s
    while (told := too_warm(await meter.latest(), protocol, prepared.first_temperature_c)) is not None:
        if clock.now_s() >= give_up_s:
            waited = f"protocol.cooldown_timeout_s is {protocol.cooldown_timeout_s:g}"
            return (Reason(code="not_cooled_down", detail=f"{told}; {waited}", transient=True),)
        await sleep_until(clock, min(give_up_s, clock.now_s() + _LOOK_EVERY_S))
    return ()


def too_warm(latest: Rows, protocol: ProtocolSpec, first_c: Mapping[str, float]) -> str | None:
    """Which GPUs are not known to be cool enough, in words; None if all are.

    ``first_c`` are the temperatures the band is above, by device; one without is bounded by ``cooldown_below_c`` alone.
    """
    if not latest:
        return "no GPU tells its temperature"
    told = []
    for device, row in latest.items():
        at_c, limit_c = row.get("temperature_c", math.nan), _limit_c(protocol, first_c.get(device))
        if not at_c <= limit_c:
            found = "an unknown temperature" if math.isnan(at_c) else f"{at_c:g} °C"
            told.append(f"{device} is at {found}, to be at most {limit_c:g} °C")
    return ", ".join(told) or None


def _limit_c(protocol: ProtocolSpec, first_c: float | None) -> float:
    below_c = math.inf if protocol.cooldown_below_c is None else protocol.cooldown_below_c
    if protocol.cooldown_band_c is None or first_c is None:
        return below_c
    return min(below_c, first_c + protocol.cooldown_band_c)


async def warmed_up(cell: Cell, engine: LoadedEngine, clock: Clock, execute: Execute) -> bool:
    """Run what ``protocol.warmup_s`` and ``protocol.warmup_workflows`` ask for; whether that was anything.

    The engine has cached what it saw when this returns: it is to be begun anew.

    Raises:
        CellError: the workflow or the engine refuses it.
        InfrastructureError: the engine was lost.
    """
    protocol, kind = cell.protocol, cell.workflow.kind
    if not protocol.warms_up:
        return False
    await engine.begin(cell, clock.now_s())
    try:
        await warm_up(
            plugins.part("workflows.library", kind, "build")(cell.workflow, seed=cell.warmup_seed),
            cell.load,
            execute=execute,
            clock=clock,
            seed=cell.warmup_seed,
            n_workflows=protocol.warmup_workflows,
            duration_s=protocol.warmup_s,
        )
    except ValueError as error:
        raise CellError(f"workflow {kind}: {error}") from error
    return True
