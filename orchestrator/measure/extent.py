"""Whether a cell has done enough work for its window: asked while it runs, of what has ended so far."""

from collections.abc import Collection, Sequence

import numpy as np

from orchestrator.measure.columns import Columns, Floats
from orchestrator.measure.window import first_arrival
from orchestrator.spec.cell import Cell
from workflows.clock import Clock
from workflows.drive import AS_ASKED, Extent, WorkflowSpan

_ROUNDING = 1e-9
"""Of a length: what shifting times to the cell's origin may take from it."""


def extent_of(cell: Cell, clock: Clock) -> Extent:
    """The extent that fills ``protocol.min_window_s``; the load as it is where nothing may be repeated."""
    protocol = cell.protocol
    if protocol.max_repetitions == 1:
        return AS_ASKED
    wanted_s = protocol.min_window_s * (1 + _ROUNDING)

    def closed(spans: Collection[WorkflowSpan], n_running: int) -> bool:
        return least_window_s(cell, spans, n_running, clock.now_s()) >= wanted_s

    def open_(arrivals_s: Sequence[float]) -> bool:
        first = first_arrival(len(arrivals_s), protocol.open_loop_warmup_share)
        return arrivals_s[-1] - arrivals_s[first] >= wanted_s

    return Extent(max_repetitions=protocol.max_repetitions, closed=closed, open=open_)


def least_window_s(cell: Cell, spans: Collection[WorkflowSpan], n_running: int, now_s: float) -> float:
    """How long the window of a closed loop will be at least if no workflow begins after ``now_s``. Units: s.

    ``spans`` have ended, ``n_running`` more will end after now. The window of single requests is taken with the
    largest k that is possible (`orchestrator.measure.window`), and with the running ones beginning and ending now.
    """
    if not spans:
        return 0.0
    if cell.workflow.has_graphs or any(len(span.steps) > 1 for span in spans):
        return now_s - min(step.completion.submitted_s for span in spans for step in span.steps)
    running = np.full(n_running, now_s)
    k = min(_most_at_once(cell), len(spans) + n_running)
    first_tokens_s = np.sort(np.append(_times(spans, "first_token_s"), running))
    finishes_s = np.sort(np.append(_times(spans, "finished_s"), running))
    return max(0.0, float(finishes_s[-k] - first_tokens_s[k - 1]))


def repetition_metrics(cell: Cell, steps: Columns) -> dict[str, float]:
    """How often the load was run to fill the window; absent where it was not to be repeated."""
    n_asked = cell.load.num_workflows
    if cell.protocol.max_repetitions == 1 or n_asked is None:
        return {}
    return {"num_repetitions": len(set(steps.values("workflow_id"))) / n_asked}


def _most_at_once(cell: Cell) -> int:
    """Requests that can be between first and last token: one a user, as many as the engines take."""
    n_seqs = sum(own.engine.max_num_seqs for own in cell.engine_cells.values())
    return min(n_seqs, cell.load.users) if cell.load.kind == "closed" else n_seqs


def _times(spans: Collection[WorkflowSpan], name: str) -> Floats:
    return np.asarray([getattr(span.steps[0].completion, name) for span in spans], dtype=np.float64)
