"""Who else computed on the GPUs of a cell."""

from orchestrator.measure.columns import Columns
from orchestrator.measure.reasons import because
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason


def sharing_reasons(events: Columns) -> tuple[Reason, ...]:
    """GPUs of which the cell had a part and the sensors told the whole; ``events`` are ``sensor_events``."""
    told = zip(events.strings("kind"), events.strings("device"), strict=True)
    gpus = sorted({str(device) for kind, device in told if kind == "shared"})
    if not gpus:
        return ()
    detail = (
        f"the engine was on a MIG instance of {', '.join(gpus)}, whose power and energy are those of all its instances "
        "and of what none has: give the cell a whole GPU, or collectors.power=none for latencies alone"
    )
    return (because("shared_gpu", detail),)


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
