"""Whether the GPUs of a machine may be set as cells ask: found out on that machine, before any engine starts."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from collectors.control import check
from collectors.control.knobs import Knobs
from collectors.errors import CollectorError
from collectors.nvml_devices import Gpu, Nvml
from orchestrator.spec.cell import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One setting of the GPUs of one product name."""

    gpu: str
    power_limit_w: float | None
    sm_clock_mhz: int | None


def asked_of(cells: Iterable[Cell]) -> tuple[Asked, ...]:
    """What cells ask of real GPUs, each once; a cell that asks for nothing is left out."""
    found = (
        Asked(
            gpu=cell.hardware.name, power_limit_w=cell.hardware.power_limit_w, sm_clock_mhz=cell.hardware.sm_clock_mhz
        )
        for cell in cells
        if cell.on_gpus
    )
    return tuple(dict.fromkeys(each for each in found if (each.power_limit_w, each.sm_clock_mhz) != (None, None)))


def refusals_here(asked: Iterable[Asked]) -> tuple[str | None, ...] | None:
    """Why this machine does not allow each, None where it does; None for all where it has no such GPU."""
    gpus = _visible()
    wanted = [(each, [gpu.uuid for gpu in gpus if gpu.name == each.gpu]) for each in asked]
    if not any(uuids for _, uuids in wanted):
        return None
    return tuple(_refusal(each, uuids) for each, uuids in wanted)


def _refusal(asked: Asked, uuids: list[str]) -> str | None:
    """One GPU that may be set is enough: another sweep may set the others."""
    if not uuids:
        return f"no {asked.gpu} is here"
    knobs = Knobs(power_limit_w=asked.power_limit_w, sm_clock_mhz=asked.sm_clock_mhz)
    told = []
    for uuid in uuids:
        try:
            check([uuid], knobs)
        except CollectorError as error:
            told.append(str(error))
        else:
            return None
    return told[0]


def _visible() -> tuple[Gpu, ...]:
    """The GPUs an engine may be given here; none where the driver cannot be asked."""
    ids = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        with Nvml() as nvml:
            return nvml.gpus_left() if ids is None else nvml.resolve([each for each in ids.split(",") if each])
    except CollectorError:
        return ()
