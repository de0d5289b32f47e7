"""A cell on a loaded engine: its phases, its raw series, its result. Which engine, and where, is not known here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from orchestrator import __version__, plugins
from orchestrator.cell import Cell
from orchestrator.engine import LoadedEngine
from orchestrator.errors import CellError
from orchestrator.measure.summary import summarise
from orchestrator.measure.tables import requests_table, steps_table, tokens_table
from orchestrator.meter.meter import Meter
from orchestrator.record import CellResult, Phase
from orchestrator.settled_memory import settle_memory
from workflows.clock import Clock, sleep_until
from workflows.drive import WorkflowSpan, drive
from workflows.execute import Execute


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What one pass over the load left behind; times of spans are on the cell's clock, ``series`` from its origin.

    ``before`` are the phases that came before the first request, from the origin too; ``control`` is that of
    `orchestrator.meter.meter.Prepared`.
    """

    spans: tuple[WorkflowSpan, ...]
    series: dict[str, pa.Table]
    origin_s: float
    provenance: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[Phase, ...] = ()
    control: dict[str, Any] | None = None


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
    begun_s = clock.now_s()
    prepared = await meter.prepare(cell)
    if cell.engine.clock == "wall":
        settle_memory()
    origin_s = clock.now_s()
    await engine.begin(cell, origin_s)
    await sleep_until(clock, clock.now_s() + cell.protocol.idle_baseline_s)
    try:
        source = plugins.part("workflows.library", cell.workflow.kind, "build")(cell.workflow, seed=cell.workload_seed)
        spans = await drive(source, cell.load, execute=execute, clock=clock, seed=cell.workload_seed)
    except ValueError as error:
        raise CellError(f"workflow {cell.workflow.kind}: {error}") from error
    series = await engine.series()
    end_s = max(span.finished_s for span in spans)
    limits = Phase(name="limits", start_s=begun_s - origin_s, end_s=0.0)
    return Observed(
        spans=spans,
        series={**series, **await meter.series(cell, origin_s, end_s, series)},
        origin_s=origin_s,
        provenance={**provenance, **prepared.provenance},
        before=() if prepared.control is None else (limits,),
        control=prepared.control,
    )


def result_of(cell: Cell, observed: Observed) -> CellResult:
    """The result of a cell: a pure function of what was observed."""
    series = _series(observed)
    summary = summarise(cell, series)
    return CellResult(
        status="invalid" if summary.reasons else "ok",
        simulated=cell.engine.simulated,
        reasons=summary.reasons,
        window=summary.window.as_dict(),
        phases=_phases(observed),
        provenance=_provenance(cell, observed),
        control=observed.control,
        metrics=summary.metrics,
        series=series,
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


def _provenance(cell: Cell, observed: Observed) -> dict[str, Any]:
    found = {"joulegrid": __version__, "engine": cell.engine.kind, **observed.provenance}
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
