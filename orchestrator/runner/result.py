"""A cell on a loaded engine: its phases, its raw series, its result. Which engine, and where, is not known here."""

from typing import Any

import pyarrow as pa

from orchestrator import __version__
from orchestrator.attribution.attribute import with_attribution
from orchestrator.measure.summary import summarise
from orchestrator.records.record import CellResult, Phase
from orchestrator.runner.phases import Observed
from orchestrator.runner.tables import requests_table, steps_table, tokens_table
from orchestrator.spec.cell import Cell


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
