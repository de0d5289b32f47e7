"""Requests that came back empty."""

from orchestrator.measure.columns import Columns
from orchestrator.measure.reasons import because
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason


def answer_reasons(requests: Columns, window: Window) -> tuple[Reason, ...]:
    """Requests answered without a token; empty if there are none. A request that is refused fails its whole cell."""
    inside = window.holds(requests.floats("finished_s"))
    n_empty = int((inside & (requests.floats("output_tokens") < 1)).sum())
    if n_empty == 0:
        return ()
    detail = f"{n_empty} of {int(inside.sum())} requests of the window brought no token; look into the engine's log"
    return (because("requests_failed", detail),)
