"""A cell on a loaded engine: its phases, its raw series, its result. Which engine, and where, is not known here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow as pa

from orchestrator import __version__, plugins
from orchestrator.attribution.attribute import with_attribution
from orchestrator.cooldown import cool_down
from orchestrator.errors import CellError
from orchestrator.measure.summary import summarise
from orchestrator.measure.tables import requests_table, steps_table, tokens_table
from orchestrator.measure.window import extent_of
from orchestrator.meter.meter import Meter, Prepared
from orchestrator.records.record import CellResult, Phase, Reason
from orchestrator.serving.engine import LoadedEngine
from orchestrator.serving.gc import settle_memory
from orchestrator.spec.cell import Cell
from orchestrator.warmed_up import warmed_up
from workflows.clock import Clock, sleep_until
from workflows.drive import WorkflowSpan, drive
from workflows.execute import Execute


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What one pass over the load left behind; times of spans are on the cell's clock, ``series`` from its origin.

    ``before`` are the phases that came before the origin; ``control`` is that of `orchestrator.meter.meter.Prepared`,
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


def result_of(cell: Cell, observed: Observed) -> CellResult:
    """The result of a cell: a pure function of what was observed."""
    attributed = with_attribution(cell, _series(observed))
    summary = summarise(cell, attributed.series)
    reasons = (*observed.reasons, *summary.reasons)
    return CellResult(
        status="invalid" if reasons else "ok",
        simulated=cell.engine.simulated,
        reasons=reasons,
        window=summary.window.as_dict(),
        phases=_phases(observed),
        provenance={**_provenance(cell, observed, summary.energy_source), **attributed.provenance},
        control=observed.control,
        metrics={**summary.metrics, **attributed.metrics},
        series=attributed.series,
    )


def _series(observed: Observed) -> dict[str, pa.Table]:
    """Only what was recorded: energy that nobody measured is missing, not zero."""
    found = {
        "requests": requests_table(observed.spans, observed.origin_s),
        "steps": steps_table(observed.spans, observed.origin_s),
        **observed.series,
    }
    tokens = tokens_table(observed.spans, observed.origin_s)
    return found if tokens is None else {**found, "tokens": tokens}


def _provenance(cell: Cell, observed: Observed, energy_source: str | None) -> dict[str, Any]:
    found = {"joulegrid": __version__, "engine": cell.engine.kind, **observed.provenance}
    if energy_source is not None:
        found["energy_source"] = energy_source
    if cell.model.extends_context:
        found["max_model_len"] = (
            f"extended to {cell.model.max_model_len} from {cell.model.max_position_embeddings}: speed and energy only"
        )
    return found


def _phases(observed: Observed) -> tuple[Phase, ...]:
    first_s = min(step.completion.submitted_s for span in observed.spans for step in span.steps) - observed.origin_s
    last_arrival_s = max(span.arrival_s for span in observed.spans) - observed.origin_s
    end_s = max(span.finished_s for span in observed.spans) - observed.origin_s
    edges_s = {"idle": (0.0, first_s), "measure": (first_s, last_arrival_s), "drain": (last_arrival_s, end_s)}
    phases = (Phase(name=name, start_s=start_s, end_s=stop_s) for name, (start_s, stop_s) in edges_s.items())
    return (*observed.before, *phases)
