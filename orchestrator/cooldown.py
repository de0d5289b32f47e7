"""The gate before a cell: it begins when its GPUs are as cool as the protocol asks, or says that they were not."""

import math
from collections.abc import Mapping

from orchestrator.meter.meter import Meter, Prepared
from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import ProtocolSpec
from workflows.clock import Clock, sleep_until

_LOOK_EVERY_S = 0.5

Rows = Mapping[str, Mapping[str, float]]
"""Samples by device, as `Meter.latest` gives them."""


async def cool_down(cell: Cell, meter: Meter, prepared: Prepared, clock: Clock) -> tuple[Reason, ...]:
    """Wait until every GPU that is sampled is cool enough, at most ``protocol.cooldown_timeout_s``.

    Returns:
        Why the cell begins warmer than was asked for; empty if it does not.
    """
    protocol = cell.protocol
    if not protocol.cools_down or not cell.collectors.samples_gpus:
        return ()
    give_up_s = clock.now_s() + protocol.cooldown_timeout_s
    while (told := too_warm(await meter.latest(), protocol, prepared.first_temperature_c)) is not None:
        if clock.now_s() >= give_up_s:
            waited = f"protocol.cooldown_timeout_s is {protocol.cooldown_timeout_s:g}"
            return (Reason(code="not_cooled_down", detail=f"{told}; {waited}", transient=True),)
        await sleep_until(clock, min(give_up_s, clock.now_s() + _LOOK_EVERY_S))
    return ()


def too_warm(latest: Rows, protocol: ProtocolSpec, first_c: Mapping[str, float]) -> str | None:
    """Which GPUs are not known to be cool enough, in words; None if all are.

    ``first_c`` are the temperatures the band is above, by device; one without is bounded by ``cooldown_below_c`` alone.
    """
    if not latest:
        return "no GPU tells its temperature"
    told = []
    for device, row in latest.items():
        at_c, limit_c = row.get("temperature_c", math.nan), _limit_c(protocol, first_c.get(device))
        if not at_c <= limit_c:
            found = "an unknown temperature" if math.isnan(at_c) else f"{at_c:g} °C"
            told.append(f"{device} is at {found}, to be at most {limit_c:g} °C")
    return ", ".join(told) or None


def _limit_c(protocol: ProtocolSpec, first_c: float | None) -> float:
    below_c = math.inf if protocol.cooldown_below_c is None else protocol.cooldown_below_c
    if protocol.cooldown_band_c is None or first_c is None:
        return below_c
    return min(below_c, first_c + protocol.cooldown_band_c)
