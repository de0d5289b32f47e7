"""A cell on a loaded engine: its phases, its raw series, its result. Which engine, and where, is not known here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from collectors.sources.simulated import power_samples
from orchestrator import __version__, plugins
from orchestrator.cell import Cell
from orchestrator.engine import LoadedEngine
from orchestrator.errors import CellError
from orchestrator.measure.summary import summarise
from orchestrator.measure.tables import power_table, requests_table, steps_table, tokens_table
from orchestrator.record import CellResult, Phase
from orchestrator.series import by_engine
from orchestrator.settled_memory import settle_memory
from workflows.clock import Clock, sleep_until
from workflows.drive import WorkflowSpan, drive
from workflows.execute import Execute


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What one pass over the load left behind; times of spans are on the cell's clock, ``series`` from its origin."""

    spans: tuple[WorkflowSpan, ...]
    series: dict[str, pa.Table]
    origin_s: float
    provenance: Mapping[str, str] = field(default_factory=dict)


async def observe(
    cell: Cell, engine: LoadedEngine, clock: Clock, execute: Execute, *, provenance: Mapping[str, str]
) -> Observed:
    """Begin the cell on the engine, measure idle, drive the load to its end.

    Args:
        cell: what to run.
        engine: started.
        clock: the cell's.
        execute: runs one workflow on the engine.
        provenance: what the engine said of itself when it was started.

    Raises:
        CellError: the workflow or the engine refuses the cell.
        InfrastructureError: the engine was lost.
    """
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
    return Observed(spans=spans, series=await engine.series(), origin_s=origin_s, provenance=provenance)


def result_of(cell: Cell, observed: Observed) -> CellResult:
    """The result of a cell: a pure function of what was observed."""
    series = _series(cell, observed)
    summary = summarise(cell, series)
    return CellResult(
        status="invalid" if summary.reasons else "ok",
        simulated=cell.engine.simulated,
        reasons=summary.reasons,
        window=summary.window.as_dict(),
        phases=_phases(observed),
        provenance=_provenance(cell, observed),
        metrics=summary.metrics,
        series=series,
    )


def _series(cell: Cell, observed: Observed) -> dict[str, pa.Table]:
    """Only what was recorded: energy that nobody measured is missing, not zero."""
    found = {
        "requests": requests_table(observed.spans, observed.origin_s),
        "steps": steps_table(observed.spans, observed.origin_s),
        **observed.series,
    }
    tokens = tokens_table(observed.spans, observed.origin_s)
    if tokens is not None:
        found["tokens"] = tokens
    if cell.collectors.power == "simulated":
        found["power"] = _simulated_power(cell, observed)
    return found


def _simulated_power(cell: Cell, observed: Observed) -> pa.Table:
    """Of the GPUs of all engines, numbered on from one engine to the next."""
    iterations = observed.series["iterations"]
    of_engine = by_engine(iterations)
    window = (0.0, max(span.finished_s for span in observed.spans) - observed.origin_s)
    tables, first_gpu = [], 0
    for name, own in cell.engine_cells.items():
        tables.append(_power_of_engine(own, of_engine.get(name, iterations.slice(0, 0)), first_gpu, window))
        first_gpu += own.engine.tensor_parallel_size
    return pa.concat_tables(tables)


def _power_of_engine(cell: Cell, iterations: pa.Table, first_gpu: int, window: tuple[float, float]) -> pa.Table:
    runs = {name: iterations.column(name).to_numpy() for name in ("start_s", "end_s", "energy_j", "sm_clock_mhz")}
    return power_table(
        power_samples(
            **runs,
            idle_power_w=cell.gpu.idle_power_w,
            n_gpus=cell.engine.tensor_parallel_size,
            first_gpu=first_gpu,
            window=window,
            period_s=cell.collectors.period_s,
        )
    )


def _provenance(cell: Cell, observed: Observed) -> dict[str, str]:
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
    return tuple(Phase(name=name, start_s=start_s, end_s=stop_s) for name, (start_s, stop_s) in edges_s.items())
