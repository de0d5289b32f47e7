"""One cell from start to end, in this process: what a worker calls, and what a debugger steps through."""

import asyncio
from dataclasses import dataclass

import pyarrow as pa

from collectors.sources.simulated import power_samples
from orchestrator import __version__, plugins
from orchestrator.cell import Cell
from orchestrator.errors import CellError
from orchestrator.measure.summary import Summary, summarise
from orchestrator.measure.tables import power_table, requests_table, steps_table
from orchestrator.record import CellResult, Phase
from orchestrator.simulation.virtual_loop import run_virtual
from workflows.clock import Clock, MonotonicClock, sleep_until
from workflows.drive import WorkflowSpan, drive


@dataclass(frozen=True, slots=True, kw_only=True)
class _Observed:
    """What one pass over the load left behind; times of spans are on the cell's clock."""

    spans: tuple[WorkflowSpan, ...]
    iterations: pa.Table
    origin_s: float


def run_cell(cell: Cell) -> CellResult:
    """Run a cell and summarise it; nothing is written.

    Raises:
        CellError: the cell cannot run as it is written.
    """
    if cell.engine.clock == "virtual":
        observed = run_virtual(lambda clock: _observe(cell, clock))
    else:
        observed = asyncio.run(_observe(cell, MonotonicClock()))
    series = _series(cell, observed)
    return _result(cell, observed, series, summarise(cell, series))


async def _observe(cell: Cell, clock: Clock) -> _Observed:
    """Load the engine, measure idle, drive the load to its end."""
    workflow = plugins.load("workflows.library", cell.workflow.kind)
    engine = plugins.load("orchestrator.engines", cell.engine.kind).build(cell, clock)
    origin_s = clock.now_s()
    try:
        await sleep_until(clock, origin_s + cell.protocol.idle_baseline_s)
        source = workflow.build(cell.workflow, seed=cell.workload_seed)
        spans = await drive(source, cell.load, generate=engine.generate, clock=clock, seed=cell.workload_seed)
    except ValueError as error:
        raise CellError(f"workflow {cell.workflow.kind}: {error}") from error
    finally:
        await engine.close()
    return _Observed(spans=spans, iterations=engine.iterations(), origin_s=origin_s)


def _series(cell: Cell, observed: _Observed) -> dict[str, pa.Table]:
    requests = requests_table(observed.spans, observed.origin_s)
    iterations = observed.iterations
    runs = {name: iterations.column(name).to_numpy() for name in ("start_s", "end_s", "energy_j", "sm_clock_mhz")}
    end_s = max(span.finished_s for span in observed.spans) - observed.origin_s
    power = power_samples(
        **runs,
        idle_power_w=cell.hardware.idle_power_w,
        n_gpus=cell.engine.tensor_parallel_size,
        window=(0.0, end_s),
        period_s=cell.collectors.period_s,
    )
    return {
        "requests": requests,
        "steps": steps_table(observed.spans, observed.origin_s),
        "iterations": iterations,
        "power": power_table(power),
    }


def _result(cell: Cell, observed: _Observed, series: dict[str, pa.Table], summary: Summary) -> CellResult:
    provenance = {"joulegrid": __version__, "engine": cell.engine.kind}
    if cell.model.extends_context:
        provenance["max_model_len"] = (
            f"extended to {cell.model.max_model_len} from {cell.model.max_position_embeddings}: speed and energy only"
        )
    return CellResult(
        status="invalid" if summary.reasons else "ok",
        simulated=cell.engine.simulated,
        reasons=summary.reasons,
        window=summary.window.as_dict(),
        phases=_phases(cell, observed),
        provenance=provenance,
        metrics=summary.metrics,
        series=series,
    )


def _phases(cell: Cell, observed: _Observed) -> tuple[Phase, ...]:
    first_s = cell.protocol.idle_baseline_s
    last_arrival_s = max(span.arrival_s for span in observed.spans) - observed.origin_s
    end_s = max(span.finished_s for span in observed.spans) - observed.origin_s
    edges_s = {"idle": (0.0, first_s), "measure": (first_s, last_arrival_s), "drain": (last_arrival_s, end_s)}
    return tuple(Phase(name=name, start_s=start_s, end_s=stop_s) for name, (start_s, stop_s) in edges_s.items())
