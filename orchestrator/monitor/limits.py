"""Power limit and clock of a cell, set on its engine's GPUs and given back."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from collectors.control import Control, acquire, check
from collectors.control.knobs import Applied, Knobs
from collectors.errors import CollectorError, ControlFailed, ControlRefused, NotPermitted, SetByOthers
from collectors.nvml_devices import Gpu, Nvml
from orchestrator.errors import CellError, InfrastructureError, LimitsRefused
from orchestrator.measure.reasons import because
from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell


def knobs_of(cell: Cell) -> Knobs:
    """What a cell asks of its GPUs."""
    return Knobs(power_limit_w=cell.hardware.power_limit_w, sm_clock_mhz=cell.hardware.sm_clock_mhz)


class LimitSetter:
    """The one who sets some GPUs, from `take` to `close`.

    GPUs that nobody asks to set need not be settable: a cell without knobs runs on any, but does not count where
    somebody else sets them or where what a dead sweep left on them cannot be undone.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        """``devices`` are UUIDs; with none nothing is ever set."""
        self._devices = tuple(devices)
        self._control: Control | None = None
        self._others: str | None = None

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why a cell under what stands now must not be pooled: nobody knows whose limit that is."""
        return () if self._others is None else (because("gpus_set_by_others", self._others),)

    def take(self, cell: Cell) -> None:
        """Keep others from setting the GPUs, and undo what one who was killed left behind.

        Raises:
            LimitsRefused: the cell asks for what nobody may set here, or another process sets these GPUs.
            InfrastructureError: the GPUs do not answer, or cannot be freed of what was left and the cell sets them.
        """
        if self._control is not None or not self._devices:
            return
        self._others = None
        try:
            self._control = acquire(self._devices)
        except ControlRefused as error:
            if knobs_of(cell).named:
                raise LimitsRefused(str(error)) from error
            if isinstance(error, SetByOthers):
                self._others = str(error)
        except CollectorError as error:
            if not isinstance(error, ControlFailed) or knobs_of(cell).named:
                raise InfrastructureError(str(error)) from error
            self._others = str(error)

    def apply(self, cell: Cell) -> dict[str, Any] | None:
        """Set what a cell asks for, and what it does not as it was found; by GPU what became of it.

        None where the GPUs cannot be set and nobody asks for it.

        Raises:
            CellError: the GPUs refuse it.
            LimitsRefused: as `take`, or this process may not set them.
            InfrastructureError: it does not hold, what stood before cannot be brought back, or a GPU was lost.
        """
        self.take(cell)
        if self._control is None:
            return None
        try:
            return _told(knobs_of(cell), self._control.apply(knobs_of(cell)))
        except NotPermitted as error:
            kind = LimitsRefused if knobs_of(cell).named else InfrastructureError
            raise kind(str(error)) from error
        except ControlRefused as error:
            raise CellError(str(error)) from error
        except CollectorError as error:
            raise InfrastructureError(str(error)) from error

    def close(self) -> None:
        """Restore what was found; a second time does nothing.

        Raises:
            InfrastructureError: it cannot be; the journal on the node keeps what is to be restored.
        """
        control, self._control = self._control, None
        if control is None:
            return
        try:
            control.close()
        except CollectorError as error:
            raise InfrastructureError(str(error)) from error


def _told(asked: Knobs, applied: Applied) -> dict[str, Any]:
    return {
        gpu.uuid: {
            "requested": {"power_limit_w": asked.power_limit_w, "sm_clock_mhz": asked.sm_clock_mhz},
            "setter": applied.setter,
            "enforced_power_limit_w": gpu.power_limit_w,
            "sm_clock_mhz": gpu.sm_clock_mhz,
            "settled_s": gpu.settled_s,
        }
        for gpu in applied.gpus
    }


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
