"""``calibrate SWEEP … hardware=NAME``: fit a hardware preset to measured cells, estimate its error, write it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from orchestrator.calibrate.cells import Selection, read_cells
from orchestrator.calibrate.errors import cross_validate
from orchestrator.calibrate.fit import fit_hardware, fitted_fields, prior_of
from orchestrator.calibrate.preset import preset_text
from orchestrator.calibrate.summary import source_text, summarise_fit
from orchestrator.calibrate.text import show
from orchestrator.cli import Arguments, CommandResult, parse_arguments
from orchestrator.errors import EnvironmentFailure, UserError, allowed_names
from orchestrator.matrix.compose import compose
from orchestrator.matrix.errors import validation_error
from orchestrator.spec.hardware import HardwareSpec
from orchestrator.store.paths import find_sweep
from orchestrator.store.sweep import SweepStore

_OPTIONS = ("hardware", "write", "prior", "include", "runs_dir", "config-dir")
_USAGE = (
    "SWEEP … hardware=NAME [write=FILE.yaml] [prior=cells|preset] [include=invalid,simulated] [runs_dir=runs] "
    "[--config-dir DIR]"
)
_INCLUDE = ("invalid", "simulated")
_PRIORS = ("cells", "preset")
_WIDTH = 140


def main(arguments: list[str]) -> CommandResult:
    """Fit the preset to the cells of the sweeps, and print parameters and errors.

    Raises:
        UserError: a sweep, the preset or an option is wrong, or no cell can be fitted.
        EnvironmentFailure: the new preset cannot be written.
    """
    given = parse_arguments("calibrate", _USAGE, arguments, _OPTIONS)
    if not given.words:
        raise UserError("calibrate takes one sweep or several (an id, a folder or latest), got none")
    target, preset = _target(given), _preset(given)
    prior_from = _choices(given, "prior", _PRIORS) or _PRIORS[:1]
    if len(prior_from) > 1:
        raise UserError(f"calibrate: prior takes one value, got {', '.join(prior_from)}")
    cells, excluded = read_cells(_stores(given), _selection(given, preset))
    prior = preset if "preset" in prior_from else prior_of(preset, cells)
    fit = fit_hardware(cells, prior)
    fields = {
        "hardware": given.options["hardware"],
        **summarise_fit(cells, excluded, prior, fit, cross_validate(cells, prior, fit)),
        "preset_differs": _differences(prior, preset),
        "hardware_spec": fit.hardware.model_dump(mode="json"),
        "written": None if target is None else str(target),
    }
    show(Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH), fields)
    if target is not None:
        _write(target, preset_text(fit.hardware, fitted_fields(cells), source_text(fields)))
    return CommandResult(0, fields)


def _stores(given: Arguments) -> list[SweepStore]:
    return [SweepStore.open(find_sweep(given.runs_dir, word).root) for word in dict.fromkeys(given.words)]


def _selection(given: Arguments, preset: HardwareSpec) -> Selection:
    include = _choices(given, "include", _INCLUDE)
    return Selection(gpu=preset.name, include_invalid="invalid" in include, include_simulated="simulated" in include)


def _choices(given: Arguments, key: str, allowed: Sequence[str]) -> tuple[str, ...]:
    for name in given.names(key):
        if name not in allowed:
            raise UserError(f"calibrate: {key}={name} is not known; {allowed_names(name, allowed)}")
    return given.names(key)


def _target(given: Arguments) -> Path | None:
    """Return the file to write, checked before the fit."""
    if "write" not in given.options:
        return None
    path = Path(given.options["write"])
    if path.suffix != ".yaml":
        raise UserError(f"calibrate: write={path} must end in .yaml, as presets do")
    if path.exists():
        raise UserError(f"calibrate: write={path} exists; choose another name, or remove it first")
    if "simulated" in given.names("include"):
        raise UserError("calibrate: write= needs measured cells; leave out include=simulated")
    return path


def _preset(given: Arguments) -> HardwareSpec:
    """Return the preset, composed by Hydra so that users' own presets are found."""
    name = given.options.get("hardware")
    if name is None:
        raise UserError("calibrate needs hardware=NAME, the preset of the GPU on which the cells were measured")
    folder = given.options.get("config-dir")
    composed = compose([*(("--config-dir", folder) if folder else ()), f"hardware={name}"])
    if composed is None or len(composed.points) != 1:
        raise UserError(f"calibrate: hardware={name} must name one preset")
    plain = composed.points[0].config["hardware"]
    if plain.get("num_gpus") == 0:
        raise UserError(f"calibrate: hardware={name} has no GPU; choose the preset of the GPU that was measured")
    try:
        return HardwareSpec.model_validate(plain)
    except ValidationError as error:
        raise UserError(f"hardware={name}: {validation_error(error, HardwareSpec, plain)}") from error


def _differences(prior: HardwareSpec, preset: HardwareSpec) -> list[str]:
    """Return the names of the coefficients, idle power among them, in which the two differ."""
    first, second = ({**one.calibration.model_dump(), "idle_power_w": one.idle_power_w} for one in (prior, preset))
    return [name for name, value in first.items() if value != second[name]]


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise EnvironmentFailure(f"{path} cannot be written: {error.strerror}") from error
    sys.stdout.write(f"written: {path}\n")
