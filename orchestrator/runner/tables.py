"""From what was driven to raw series: the requests, steps and power tables of `orchestrator.records.series`."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from orchestrator.records.series import REQUESTS, STEPS, TOKENS
from workflows.drive import WorkflowSpan
from workflows.execute import StepSpan

_COMPLETION_FIELDS = ("cached_tokens", "output_tokens", "n_preemptions", "prefill_energy_j", "decode_energy_j")
_COMPLETION_TIMES = ("submitted_s", "scheduled_s", "first_token_s", "finished_s")


def requests_table(spans: Sequence[WorkflowSpan], origin_s: float) -> pa.Table:
    """One row a request; times are shifted to begin at ``origin_s`` on the cell's clock."""
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
    """What the server counted, where it was told text; else what was sent."""
    counted = step.completion.prompt_tokens
    return step.prompt_tokens if counted is None else counted


def steps_table(spans: Sequence[WorkflowSpan], origin_s: float) -> pa.Table:
    """One row a step: what it waited for, and when its workflow was due."""
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


def tokens_table(spans: Sequence[WorkflowSpan], origin_s: float) -> pa.Table | None:
    """One row an output token, request by request; None where an engine gave no times of tokens."""
    completions = [step.completion for span in spans for step in span.steps]
    if any(completion.token_times_s is None for completion in completions):
        return None
    times_s = [t_s - origin_s for completion in completions for t_s in completion.token_times_s or ()]
    ids = [completion.request_id for completion in completions for _ in completion.token_times_s or ()]
    return pa.table([ids, times_s], schema=TOKENS)
