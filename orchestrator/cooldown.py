"""The gate before a cell: it begins when its GPUs are as cool as the protocol asks, or says that they were not."""

from collections.abc import Mapping

from orchestrator.cell import Cell
from orchestrator.meter.meter import Meter
from orchestrator.record import Reason
from workflows.clock import Clock, sleep_until

_LOOK_EVERY_S = 0.5

Rows = Mapping[str, Mapping[str, float]]
"""Samples by device, as `Meter.latest` gives them."""


async def cool_down(cell: Cell, meter: Meter, clock: Clock) -> tuple[Reason, ...]:
    """Wait until every GPU that is sampled is cool enough, at most ``protocol.cooldown_timeout_s``.

    Returns:
        Why the cell begins warmer than was asked for; empty if it does not.
    """
    below_c, timeout_s = cell.protocol.cooldown_below_c, cell.protocol.cooldown_timeout_s
    if below_c is None or not cell.collectors.samples:
        return ()
    give_up_s = clock.now_s() + timeout_s
    while (told := too_warm(await meter.latest(), below_c)) is not None:
        if clock.now_s() >= give_up_s:
            detail = f"{told}; protocol.cooldown_below_c is {below_c:g} °C, and protocol.cooldown_timeout_s has passed"
            return (Reason(code="not_cooled_down", detail=detail, transient=True),)
        await sleep_until(clock, min(give_up_s, clock.now_s() + _LOOK_EVERY_S))
    return ()


def too_warm(latest: Rows, below_c: float) -> str | None:
    """Which GPUs are not known to be cool enough, in words; None if all are."""
    if not latest:
        return "no GPU tells its temperature"
    warm = {device: row.get("temperature_c") for device, row in latest.items()}
    told = [
        f"{device} is at {'an unknown temperature' if at_c is None else f'{at_c:g} °C'}"
        for device, at_c in warm.items()
        if at_c is None or not at_c <= below_c
    ]
    return ", ".join(told) or None
