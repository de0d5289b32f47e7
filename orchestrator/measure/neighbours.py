"""Who else computed on the GPUs of a cell."""

from orchestrator.measure.columns import Columns
from orchestrator.measure.reasons import because
from orchestrator.measure.window import Window
from orchestrator.record import Reason


def neighbour_reasons(processes: Columns, window: Window) -> tuple[Reason, ...]:
    """Processes of others in the window; empty if there were none, or nobody looked.

    A driver outside a container names processes by ids that are not those inside: such (``own`` null) are nobody's.
    """
    columns = (processes.values(name) for name in ("t_s", "pid", "own"))
    seen = [(t_s, pid) for t_s, pid, own in zip(*columns, strict=True) if own is False]
    foreign = [pid for t_s, pid in seen if window.start_s <= t_s <= window.end_s]
    if not foreign:
        return ()
    pids = ", ".join(str(pid) for pid in dict.fromkeys(foreign))
    detail = f"pid {pids} computed on a GPU of the cell, seen {len(foreign)} times; keep others off its GPUs"
    return (because("foreign_process", detail),)
