"""Validate plain configurations into cells and settings; no later module reads what Hydra composed."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator import plugins
from orchestrator.errors import InfeasibleCell, UserError, allowed_names
from orchestrator.matrix.errors import validation_error
from orchestrator.matrix.expand import SWEEP_GROUP
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import COMPUTED_POWER, MAIN, NO_POWER
from orchestrator.spec.settings import Settings
from orchestrator.spec.workload import source_at_most, workflow_errors, workload_key
from workflows.source import max_context_tokens

QUESTION = "question"
"""The question that a sweep file answers: text for people, part of no cell and no setting."""

_PROTOCOL_SETTINGS = ("order", "max_attempts", "repeats", "stop_when")
"""Keys of ``protocol`` that belong to the sweep, not to a cell."""

_KNOBS = ("power_limit_w", "sm_clock_mhz")
"""Keys of ``hardware`` that are set on the GPUs."""

_Model = TypeVar("_Model", bound=BaseModel)


def cell_of(plain: Mapping[str, Any]) -> Cell:
    """Return the validated cell of a complete configuration.

    Raises:
        UserError: a value is wrong; the message names the key, the value and what is allowed.
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
    """Raise UserError if power cannot be measured beside this engine: the result would look measured."""
    power, kind = cell.collectors.power, cell.engine.kind
    computed = cell.engine.simulated or cell.engine.clock == "virtual"
    if power == COMPUTED_POWER and not computed:
        raise UserError(
            "collectors.power: must be auto or none, got 'simulated', which computes the power of a simulated engine; "
            f"engine.kind={kind} runs in real time"
        )
    if cell.engine.clock == "virtual" and cell.collectors.samples:
        key = "power" if power not in (NO_POWER, COMPUTED_POWER) else "cpu_power"
        raise UserError(
            f"collectors.{key}: must be auto or none, got {getattr(cell.collectors, key)!r}, which is sampled in "
            f"real time; engine.kind={kind} has engine.clock=virtual"
        )
    if power == "nvml" and not cell.on_gpus:
        raise UserError(
            f"collectors.power: must be auto or none, got 'nvml': engine.kind={kind} uses no GPU of the node it runs on"
        )


def _refuse_knobs(cell: Cell) -> None:
    """Raise UserError if a limit would not be set: the result would look limited."""
    for knob in _KNOBS:
        value = getattr(cell.hardware, knob)
        if value is not None and cell.engine.clock == "wall" and not cell.engine.simulated and not cell.on_gpus:
            raise UserError(
                f"hardware.{knob}: must be null beside engine.kind={cell.engine.kind}, got {value:g}: it runs on no "
                "GPU of its node that could be set"
            )


def settings_of(plain: Mapping[str, Any]) -> Settings:
    """Return the validated settings of a configuration; errors as in `cell_of`."""
    data = {key: value for key, value in plain.items() if key in _settings_keys()}
    protocol = plain.get("protocol")
    if isinstance(protocol, Mapping):
        data |= {key: protocol[key] for key in _PROTOCOL_SETTINGS if key in protocol}
    return _validated(Settings, data, {key: f"protocol.{key}" for key in _PROTOCOL_SETTINGS})


def _validated(model: type[_Model], data: Mapping[str, Any], renamed: Mapping[str, str] | None = None) -> _Model:
    try:
        validated = model.model_validate(data)
    except ValidationError as error:
        raise validation_error(error, model, data, renamed) from error
    _refuse_odd_numbers(data, validated.model_dump(), ())
    return validated


def _refuse_odd_numbers(written: Mapping[str, Any], validated: Mapping[str, Any], path: tuple[str, ...]) -> None:
    """Raise UserError for numbers that pydantic accepts: true or false, and infinity, which no record can hold."""
    for key, value in validated.items():
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


def refuse_long_requests(cells: Iterable[Cell]) -> None:
    """Build each distinct workload once and compare its longest requests with the context lengths.

    Raises:
        UserError: a request is longer, a workload cannot be built, a replay has no recorded arrivals, or a role that
            has an engine is not in the workload.
    """
    longest: dict[str, dict[str, int]] = {}
    for cell in cells:
        key = workload_key(cell)
        if key not in longest:
            with workflow_errors(cell):
                longest[key] = max_context_tokens(*source_at_most(cell))
        _refuse_other_roles(cell, longest[key])
        for role, tokens in sorted(longest[key].items(), key=lambda item: -item[1]):
            _refuse_long_request(cell, role, tokens)


def _refuse_long_request(cell: Cell, role: str, tokens: int) -> None:
    own = cell.roles.get(role)
    model, key = (cell.model, "model") if own is None else (own.model, f"roles.{role}.model")
    if tokens > model.max_model_len:
        raise UserError(
            f"workflow {cell.workflow.kind}: its longest request {'' if own is None else f'of role {role} '}has "
            f"{tokens} tokens, more than the {model.max_model_len} of {key}.max_model_len on {model.name}; "
            f"set {key}.max_model_len={tokens} or choose a shorter workload"
        )


def _refuse_other_roles(cell: Cell, roles: Mapping[str, int]) -> None:
    unknown = [role for role in cell.roles if role not in roles]
    if unknown:
        raise UserError(
            f"roles.{unknown[0]}: workflow {cell.workflow.kind} has no such role; it has {', '.join(sorted(roles))}"
        )
    if roles.keys() <= cell.engine_of_role.keys():
        raise UserError(
            f"roles: every role of workflow {cell.workflow.kind} has an engine of its own, so nothing would run on the "
            "cell's own; leave one role out and give its engine as model and engine"
        )


def refuse_inline_ray(cells: Iterable[Cell], settings: Settings) -> None:
    """Raise UserError if workflows are Ray task graphs but ``executor`` is inline, where there is no Ray."""
    if settings.executor == "inline" and any(cell.workflow.executor == "ray" for cell in cells):
        raise UserError(
            "executor=inline: workflows on a real engine run on Ray by default; add workflow.executor=local"
        )


def infeasible_cells(cells: Iterable[Cell]) -> dict[str, str]:
    """Return why cells cannot run, by cell id, as their engines' checks state it before anything starts."""
    reasons = {}
    for cell in cells:
        try:
            _check(cell)
        except InfeasibleCell as error:
            reasons[cell.cell_id] = str(error)
    return reasons


def _check(cell: Cell) -> None:
    for name, own in cell.engine_cells.items():
        check = plugins.part("orchestrator.engines", own.engine.kind, "check")
        try:
            with plugins.user_errors(own.engine.kind):
                check(own)
        except InfeasibleCell as error:
            raise error if name == MAIN else InfeasibleCell(f"engine of {name}: {error}") from error
    if cell.engine_of_role:
        _check_together(cell)


def _check_together(cell: Cell) -> None:
    """Raise InfeasibleCell if the engines do not fit: they share the GPUs of one node, each GPU has one engine."""
    engines = {name: own.engine for name, own in cell.engine_cells.items()}
    if cell.hardware.num_gpus and sum(engine.uses_gpus for engine in engines.values()) > 1:
        raise InfeasibleCell(
            "roles: several engines of a cell on the GPUs of a node are not placed yet; "
            "a server of each model and engine=openai can do it"
        )
    needed = {
        name: engine.tensor_parallel_size for name, engine in engines.items() if engine.simulated or engine.uses_gpus
    }
    if cell.hardware.num_gpus and sum(needed.values()) > cell.hardware.num_gpus:
        sizes = " + ".join(f"{n_gpus} ({name})" for name, n_gpus in needed.items())
        raise InfeasibleCell(
            f"the engines need {sizes} GPUs on one node; {cell.hardware.name} nodes have {cell.hardware.num_gpus}"
        )
