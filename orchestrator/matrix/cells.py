"""From plain data to validated cells and settings: nothing past here sees a configuration as Hydra composed it."""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.errors import UserError, allowed_names
from orchestrator.matrix.axes import SWEEP_GROUP
from orchestrator.matrix.messages import user_error
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import COMPUTED_POWER, NO_POWER
from orchestrator.spec.settings import Settings

QUESTION = "question"
"""What a sweep file says it asks: for people, part of no cell and no setting."""

_PROTOCOL_SETTINGS = ("order", "max_attempts", "repeats", "stop_when")
"""Keys of ``protocol`` that say how a sweep is run, not what a cell measures."""

KNOBS = ("power_limit_w", "sm_clock_mhz")
"""Keys of ``hardware`` that are set on the GPUs."""

_Model = TypeVar("_Model", bound=BaseModel)


def cell_of(plain: Mapping[str, Any]) -> Cell:
    """The validated cell of a composed configuration.

    Raises:
        UserError: naming the key, the value and what is allowed.
    """
    _refuse_unknown(plain)
    data = {key: value for key, value in plain.items() if key in Cell.model_fields}
    protocol = data.get("protocol")
    if isinstance(protocol, Mapping):
        data["protocol"] = {key: value for key, value in protocol.items() if key not in _PROTOCOL_SETTINGS}
    cell = _validated(Cell, data)
    _refuse_collectors(cell)
    _refuse_knobs(cell)
    return cell


def _refuse_collectors(cell: Cell) -> None:
    """What cannot be told of this engine must not look as if it had been."""
    power, kind = cell.collectors.power, cell.engine.kind
    computed = cell.engine.simulated or cell.engine.clock == "virtual"
    if power == COMPUTED_POWER and not computed:
        raise UserError(
            "collectors.power: must be auto or none, got 'simulated', which computes the power of a simulated engine; "
            f"engine.kind={kind} runs in real time"
        )
    if cell.engine.clock == "virtual" and cell.collectors.samples:
        told = "power" if power not in (NO_POWER, COMPUTED_POWER) else "cpu_power"
        raise UserError(
            f"collectors.{told}: must be auto or none, got {getattr(cell.collectors, told)!r}, which is sampled in "
            f"real time; engine.kind={kind} has engine.clock=virtual"
        )
    if power == "nvml" and not cell.on_gpus:
        raise UserError(
            f"collectors.power: must be auto or none, got 'nvml': engine.kind={kind} uses no GPU of the node it runs on"
        )


def _refuse_knobs(cell: Cell) -> None:
    """A knob that nobody turns must not look as if it had been."""
    for knob in KNOBS:
        value = getattr(cell.hardware, knob)
        if value is not None and cell.engine.clock == "wall" and not cell.engine.simulated and not cell.on_gpus:
            raise UserError(
                f"hardware.{knob}: must be null beside engine.kind={cell.engine.kind}, got {value:g}: it runs on no "
                "GPU of its node that could be set"
            )


def settings_of(plain: Mapping[str, Any]) -> Settings:
    """The validated settings of a composed configuration; errors as in `cell_of`."""
    data = {key: value for key, value in plain.items() if key in _settings_keys()}
    protocol = plain.get("protocol")
    if isinstance(protocol, Mapping):
        data |= {key: protocol[key] for key in _PROTOCOL_SETTINGS if key in protocol}
    return _validated(Settings, data, {key: f"protocol.{key}" for key in _PROTOCOL_SETTINGS})


def _validated(model: type[_Model], data: Mapping[str, Any], written_as: Mapping[str, str] | None = None) -> _Model:
    """``written_as`` renames a field in messages to the key that people wrote."""
    try:
        found = model.model_validate(data)
    except ValidationError as error:
        raise user_error(error, model, data, written_as or {}) from error
    _refuse_odd_numbers(data, found.model_dump(), ())
    return found


def _refuse_odd_numbers(written: Mapping[str, Any], found: Mapping[str, Any], path: tuple[str, ...]) -> None:
    """What pydantic lets pass: true where a number belongs, and infinity, which no record can hold."""
    for key, value in found.items():
        given, place = written.get(key), (*path, key)
        if isinstance(value, Mapping):
            _refuse_odd_numbers(given if isinstance(given, Mapping) else {}, value, place)
        elif isinstance(given, bool) and not isinstance(value, bool):
            raise UserError(f"{'.'.join(place)}: must be a number, got {given}")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{'.'.join(place)}: must be a finite number, got {value}")


def _settings_keys() -> tuple[str, ...]:
    return tuple(key for key in Settings.model_fields if key not in _PROTOCOL_SETTINGS)


def _refuse_unknown(plain: Mapping[str, Any]) -> None:
    allowed = (*Cell.model_fields, *_settings_keys(), QUESTION)
    for key in plain:
        if key == SWEEP_GROUP:
            raise UserError(
                "sweep: a sweep file begins with `# @package _global_` and sets hydra.mode and hydra.sweeper.params"
            )
        if key not in allowed:
            raise UserError(f"{key}: unknown key; {allowed_names(key, allowed)}")
