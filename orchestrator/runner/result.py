"""The result of a cell: series, metrics, attributed energy and provenance, from a run that has ended."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from orchestrator import __version__
from orchestrator.attribution.attribute import with_attribution
from orchestrator.measure.summary import summarise
from orchestrator.records.record import CellResult
from orchestrator.records.series import REQUESTS, STEPS, TOKENS
from orchestrator.runner.phases import CellRun
from orchestrator.spec.cell import Cell
from workflows.drive import WorkflowSpan
from workflows.execute import StepSpan

_COMPLETION_FIELDS = ("cached_tokens", "output_tokens", "n_preemptions", "prefill_energy_j", "decode_energy_j")
_COMPLETION_TIMES = ("submitted_s", "scheduled_s", "first_token_s", "finished_s")


def result_of(cell: Cell, run: CellRun) -> CellResult:
    """Return the result of a cell; a pure function of its run."""
    attributed = with_attribution(cell, _series(run))
    summary = summarise(cell, attributed.series)
    reasons = (*run.reasons, *summary.reasons)
    return CellResult(
        status="invalid" if reasons else "ok",
        simulated=cell.engine.simulated,
        reasons=reasons,
        window=summary.window.as_dict(),
        phases=run.phases,
        provenance={**_provenance(cell, run, summary.energy_source), **attributed.provenance},
        control=run.control,
        metrics={**summary.metrics, **attributed.metrics},
        series=attributed.series,
    )


def _provenance(cell: Cell, run: CellRun, energy_source: str | None) -> dict[str, Any]:
    provenance = {"joulegrid": __version__, "engine": cell.engine.kind, **run.provenance}
    if energy_source is not None:
        provenance["energy_source"] = energy_source
    if cell.model.extends_context:
        provenance["max_model_len"] = (
            f"extended to {cell.model.max_model_len} from {cell.model.max_position_embeddings}: speed and energy only"
        )
    return provenance


def _series(run: CellRun) -> dict[str, pa.Table]:
    """Return the tables of `orchestrator.records.series` that were recorded."""
    series = {
        "requests": _requests(run.spans, run.origin_s),
        "steps": _steps(run.spans, run.origin_s),
        **run.series,
    }
    tokens = _tokens(run.spans, run.origin_s)
    return series if tokens is None else {**series, "tokens": tokens}


def _requests(spans: Sequence[WorkflowSpan], origin_s: float) -> pa.Table:
    """Return one row per request; times count from ``origin_s``."""
    rows = [
        {
            "request_id": step.request_id,
            "workflow_id": span.workflow_id,
            "tenant": span.tenant,
            "step": step.step,
            "role": step.role,
            "prompt_tokens": _prompt_tokens(step),
            **{name: getattr(step.completion, name) for name in _COMPLETION_FIELDS},
            **{name: getattr(step.completion, name) - origin_s for name in _COMPLETION_TIMES},
        }
        for span in spans
        for step in span.steps
    ]
    return pa.Table.from_pylist(rows, schema=REQUESTS)


def _prompt_tokens(step: StepSpan) -> int:
    """Return the server's count if the prompt was sent as text, else the number of tokens sent."""
    counted = step.completion.prompt_tokens
    return step.prompt_tokens if counted is None else counted


def _steps(spans: Sequence[WorkflowSpan], origin_s: float) -> pa.Table:
    """Return one row per step, with its parents and the due time of its workflow; times count from ``origin_s``."""
    rows: list[dict[str, Any]] = [
        {
            "workflow_id": span.workflow_id,
            "tenant": span.tenant,
            "step": step.step,
            "role": step.role,
            "request_id": step.request_id,
            "parents": list(step.parents),
            "arrival_s": span.arrival_s - origin_s,
            "ready_s": step.ready_s - origin_s,
            "finished_s": step.finished_s - origin_s,
        }
        for span in spans
        for step in span.steps
    ]
    return pa.Table.from_pylist(rows, schema=STEPS)


def _tokens(spans: Sequence[WorkflowSpan], origin_s: float) -> pa.Table | None:
    """Return one row per output token, request by request; None if the engine reports no token times."""
    completions = [step.completion for span in spans for step in span.steps]
    if any(completion.token_times_s is None for completion in completions):
        return None
    times_s = [t_s - origin_s for completion in completions for t_s in completion.token_times_s or ()]
    ids = [completion.request_id for completion in completions for _ in completion.token_times_s or ()]
    return pa.table([ids, times_s], schema=TOKENS)
