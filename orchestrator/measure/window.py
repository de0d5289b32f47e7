"""The window that a cell is measured over, computed from its raw series, and how far the load is repeated to fill it.

Three rules, never mixed, and recorded with every cell:

- ``steady_state`` (closed loop, single requests): from the k-th first token to the k-th last finish, with
  k = min(``max_num_seqs``, the largest batch that was reached), as in the ML.ENERGY benchmark (arXiv 2505.06371).
- ``arrivals`` (open loop, single requests): from a fixed share of the arrivals to the last arrival.
- ``workflows`` (any workflow of several steps): from the first submit to the last finish. A mix that has such
  workflows has this rule even if none was drawn, so that its cells can be compared.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from orchestrator.measure.columns import Columns, Floats
from orchestrator.measure.reasons import because
from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell
from workflows.clock import Clock
from workflows.drive import ONCE, Extent, WorkflowSpan

_ROUNDING = 1e-9
"""Relative rounding error of a length when times are shifted to the cell's origin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """An interval on the cell's clock and the rule that gave it. Units: s."""

    rule: Literal["steady_state", "arrivals", "workflows"]
    start_s: float
    end_s: float
    k: int | None = None

    @property
    def length_s(self) -> float:
        """Length of the window; 0 if the series were too short for the rule."""
        return max(0.0, self.end_s - self.start_s)

    @property
    def edges(self) -> tuple[float, float]:
        """Start and end of the window. Units: s."""
        return self.start_s, self.end_s

    def holds(self, times_s: Floats) -> npt.NDArray[np.bool_]:
        """Return which of the times are in the window, edges included; shape (n,)."""
        inside: npt.NDArray[np.bool_] = (times_s >= self.start_s) & (times_s <= self.end_s)
        return inside

    def samples(self, begun_s: Floats, finished_s: Floats) -> npt.NDArray[np.bool_]:
        """Return the requests or workflows whose latencies count: those that began in the window; shape (n,).

        This excludes the burst in which all users begin, and keeps those that, under overload, end after the window.
        If none began in the window (all came at once), those that finished in it count. Under the rule ``workflows``,
        which holds the whole run, these always count.
        """
        begun = self.holds(begun_s)
        return begun if self.rule != "workflows" and begun.any() else self.holds(finished_s)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for the record, without fields that do not apply."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def find_window(cell: Cell, *, requests: Columns, steps: Columns, iterations: Columns) -> Window:
    """Return the window of a cell, by the rule for its workflow and load."""
    if cell.workflow.has_graphs or len(np.unique(steps.strings("workflow_id"))) < len(steps):
        return Window(
            rule="workflows",
            start_s=float(requests.floats("submitted_s").min()),
            end_s=float(requests.floats("finished_s").max()),
        )
    if cell.load.kind == "closed":
        return _steady_state(cell, requests, iterations)
    arrivals_s = np.sort(steps.floats("arrival_s"))
    first = first_arrival(len(arrivals_s), cell.protocol.open_loop_warmup_share)
    return Window(rule="arrivals", start_s=float(arrivals_s[first]), end_s=float(arrivals_s[-1]))


def first_arrival(n_arrivals: int, warmup_share: float) -> int:
    """Return the index of the arrival at which the window of an open loop begins."""
    return min(int(warmup_share * n_arrivals), n_arrivals - 1)


def window_reasons(window: Window, min_window_s: float) -> tuple[Reason, ...]:
    """Return why the window is too short; empty if it is long enough."""
    if window.length_s > 0 and window.length_s >= min_window_s:
        return ()
    detail = (
        f"the {window.rule} window is {window.length_s:.3g} s; protocol.min_window_s is {min_window_s:g} s; fill it "
        "with more work: protocol.max_repetitions, or a larger load"
    )
    return (because("window_too_short", detail),)


def _steady_state(cell: Cell, requests: Columns, iterations: Columns) -> Window:
    most = sum(own.engine.max_num_seqs for own in cell.engine_cells.values())
    k = min(most, _largest_batch(requests, iterations), len(requests))
    first_tokens_s = np.sort(requests.floats("first_token_s"))
    finishes_s = np.sort(requests.floats("finished_s"))
    start_s, end_s = float(first_tokens_s[k - 1]), float(finishes_s[-k])
    return Window(rule="steady_state", start_s=start_s, end_s=max(start_s, end_s), k=k)


def _largest_batch(requests: Columns, iterations: Columns) -> int:
    """Return the sum of the engines' largest batches; without iterations, the most requests in decode at once."""
    if len(iterations):
        return sum(int(engine.floats("n_running").max()) for engine in iterations.by_engine())
    events_s = np.concatenate([requests.floats("first_token_s"), requests.floats("finished_s")])
    steps = np.repeat([1, -1], len(requests))
    order = np.lexsort((steps, events_s))
    return max(1, int(np.cumsum(steps[order]).max()))


def extent_of(cell: Cell, clock: Clock) -> Extent:
    """Return the extent that fills ``protocol.min_window_s``; the unchanged load if it may not be repeated."""
    protocol = cell.protocol
    if protocol.max_repetitions == 1:
        return ONCE
    wanted_s = protocol.min_window_s * (1 + _ROUNDING)

    def closed(spans: Collection[WorkflowSpan], n_running: int) -> bool:
        return least_window_s(cell, spans, n_running, clock.now_s()) >= wanted_s

    def open_(arrivals_s: Sequence[float]) -> bool:
        first = first_arrival(len(arrivals_s), protocol.open_loop_warmup_share)
        return arrivals_s[-1] - arrivals_s[first] >= wanted_s

    return Extent(max_repetitions=protocol.max_repetitions, closed=closed, open=open_)


def least_window_s(cell: Cell, spans: Collection[WorkflowSpan], n_running: int, now_s: float) -> float:
    """Return the least length of a closed loop's window if no workflow begins after ``now_s``. Units: s.

    ``spans`` have ended, ``n_running`` more will end after now. The window of single requests is computed with the
    largest possible k, and as if the running ones began and ended now.
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
    """Return how often the load was run to fill the window; empty if it may not be repeated."""
    n_requested = cell.load.num_workflows
    if cell.protocol.max_repetitions == 1 or n_requested is None:
        return {}
    return {"num_repetitions": len(set(steps.values("workflow_id"))) / n_requested}


def _most_at_once(cell: Cell) -> int:
    """Return the most requests that can be between first and last token: one a user, at most what the engines hold."""
    n_seqs = sum(own.engine.max_num_seqs for own in cell.engine_cells.values())
    return min(n_seqs, cell.load.users) if cell.load.kind == "closed" else n_seqs


def _times(spans: Collection[WorkflowSpan], name: str) -> Floats:
    return np.asarray([getattr(span.steps[0].completion, name) for span in spans], dtype=np.float64)
