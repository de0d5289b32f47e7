"""Power limit and clock of a cell: set on the GPUs of its engine, and restored."""

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
    """Return the power limit and the clock that a cell sets."""
    return Knobs(power_limit_w=cell.hardware.power_limit_w, sm_clock_mhz=cell.hardware.sm_clock_mhz)


class LimitSetter:
    """Exclusive control of some GPUs, from `take` to `close`.

    A cell that sets nothing runs on GPUs that cannot be set. But it is invalid if another process sets them, or if the
    settings that a killed sweep left behind cannot be undone.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        """``devices`` are UUIDs; without any, nothing is ever set."""
        self._devices = tuple(devices)
        self._control: Control | None = None
        self._set_by_others: str | None = None

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Reasons not to pool a cell under the present settings: another process may have made them."""
        return () if self._set_by_others is None else (because("gpus_set_by_others", self._set_by_others),)

    def take(self, cell: Cell) -> None:
        """Lock the GPUs against other controllers, and undo what a killed one left behind.

        Raises:
            LimitsRefused: The cell sets GPUs that this process may not set, or that another process sets.
            InfrastructureError: The GPUs do not answer, or the cell sets them and what was left cannot be undone.
        """
        if self._control is not None or not self._devices:
            return
        self._set_by_others = None
        try:
            self._control = acquire(self._devices)
        except ControlRefused as error:
            if knobs_of(cell).named:
                raise LimitsRefused(str(error)) from error
            if isinstance(error, SetByOthers):
                self._set_by_others = str(error)
        except CollectorError as error:
            if not isinstance(error, ControlFailed) or knobs_of(cell).named:
                raise InfrastructureError(str(error)) from error
            self._set_by_others = str(error)

    def apply(self, cell: Cell) -> dict[str, Any] | None:
        """Set the limit and clock of a cell; restore what it leaves open to its value before the sweep.

        Returns:
            By GPU UUID, what was requested, set and enforced; None if the GPUs cannot be set and the cell sets nothing.

        Raises:
            CellError: The GPUs refuse the setting.
            LimitsRefused: As for `take`, or this process may not set them.
            InfrastructureError: The setting is not in force, cannot be restored, or a GPU was lost.
        """
        self.take(cell)
        if self._control is None:
            return None
        knobs = knobs_of(cell)
        try:
            return _control_record(knobs, self._control.apply(knobs))
        except NotPermitted as error:
            kind = LimitsRefused if knobs.named else InfrastructureError
            raise kind(str(error)) from error
        except ControlRefused as error:
            raise CellError(str(error)) from error
        except CollectorError as error:
            raise InfrastructureError(str(error)) from error

    def close(self) -> None:
        """Restore the settings from before `take`; a second call does nothing.

        Raises:
            InfrastructureError: They cannot be restored; the journal on the node keeps them.
        """
        control, self._control = self._control, None
        if control is None:
            return
        try:
            control.close()
        except CollectorError as error:
            raise InfrastructureError(str(error)) from error


def _control_record(requested: Knobs, applied: Applied) -> dict[str, Any]:
    return {
        gpu.uuid: {
            "requested": {"power_limit_w": requested.power_limit_w, "sm_clock_mhz": requested.sm_clock_mhz},
            "setter": applied.setter,
            "enforced_power_limit_w": gpu.power_limit_w,
            "sm_clock_mhz": gpu.sm_clock_mhz,
            "settled_s": gpu.settled_s,
        }
        for gpu in applied.gpus
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedLimits:
    """One setting of GPUs, which are given by their product name."""

    gpu: str
    power_limit_w: float | None
    sm_clock_mhz: int | None


def requested_limits(cells: Iterable[Cell]) -> tuple[RequestedLimits, ...]:
    """Return the distinct settings that cells make on real GPUs."""
    settings = (
        RequestedLimits(gpu=cell.hardware.name, power_limit_w=knobs.power_limit_w, sm_clock_mhz=knobs.sm_clock_mhz)
        for cell in cells
        if cell.on_gpus and (knobs := knobs_of(cell)).named
    )
    return tuple(dict.fromkeys(settings))


def refusals_here(requested: Iterable[RequestedLimits]) -> tuple[str | None, ...] | None:
    """Return why this machine refuses each setting, None for an allowed one; None if it has no such GPU at all."""
    gpus = _visible_gpus()
    uuids_of = [(each, [gpu.uuid for gpu in gpus if gpu.name == each.gpu]) for each in requested]
    if not any(uuids for _, uuids in uuids_of):
        return None
    return tuple(_refusal(each, uuids) for each, uuids in uuids_of)


def _refusal(requested: RequestedLimits, uuids: list[str]) -> str | None:
    """Return the first refusal; None if one GPU may be set, because another sweep may set the others."""
    if not uuids:
        return f"no {requested.gpu} is here"
    knobs = Knobs(power_limit_w=requested.power_limit_w, sm_clock_mhz=requested.sm_clock_mhz)
    refusals = []
    for uuid in uuids:
        try:
            check([uuid], knobs)
        except CollectorError as error:
            refusals.append(str(error))
        else:
            return None
    return refusals[0]


def _visible_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that an engine here may use; none if the driver does not answer."""
    ids = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        with Nvml() as nvml:
            return nvml.gpus_left() if ids is None else nvml.resolve([each for each in ids.split(",") if each])
    except CollectorError:
        return ()
