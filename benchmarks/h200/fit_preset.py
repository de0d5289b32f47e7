"""The preset of a GPU as a file: read, and written anew with coefficients that were fitted."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from orchestrator.errors import UserError
from orchestrator.spec.hardware import Calibration, HardwareSpec

_WIDTH = 116
PRESETS = Path(__file__).parents[2] / "conf" / "hardware"


def read_preset(path: Path) -> HardwareSpec:
    """The GPU of a preset.

    Raises:
        UserError: the file cannot be read or is no preset of a GPU.
    """
    try:
        return HardwareSpec.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no preset of a GPU: {' '.join(str(error).split())[:150]}") from error


def rounded(hardware: HardwareSpec) -> HardwareSpec:
    """With the digits that are written, so that what was judged is what is kept."""
    plain = {name: float(f"{value:.4g}") for name, value in hardware.calibration.model_dump().items()}
    return hardware.model_copy(
        update={
            "idle_power_w": float(f"{hardware.idle_power_w:.4g}"),
            "calibration": Calibration.model_validate(plain),
        }
    )


def calibration_text(hardware: HardwareSpec, fitted: Sequence[str]) -> str:
    """The block ``calibration`` as YAML: what was fitted, and what is not as `Calibration` has it by default."""
    values = hardware.calibration.model_dump()
    defaults = {name: field.default for name, field in Calibration.model_fields.items()}
    lines = [f"  {name}: {value:.4g}" for name, value in values.items() if name in fitted or value != defaults[name]]
    return "\n".join(["calibration:", *lines]) + "\n"


def preset_text(before: str, hardware: HardwareSpec, fitted: Sequence[str], source: str) -> str:
    """The preset with these coefficients.

    Args:
        before: text of the preset; its first line, a comment, and its datasheet figures stay.
        hardware: with the coefficients.
        fitted: names of those that were fitted.
        source: where they come from, put where the other comments were.
    """
    lines = before.splitlines()
    comments = [line for line in lines if line.startswith("#")]
    plain = [line for line in lines if not line.startswith("#")]
    head = plain[: plain.index("calibration:")]
    body = [f"idle_power_w: {hardware.idle_power_w:.4g}" if line.startswith("idle_power_w:") else line for line in head]
    text = (
        "\n".join(
            [*comments[:1], *(f"# {line}" for line in textwrap.wrap(source, _WIDTH, break_on_hyphens=False)), *body]
        )
        + "\n"
    )
    return text + calibration_text(hardware, fitted)


def difference(one: HardwareSpec, other: HardwareSpec) -> Mapping[str, tuple[Any, Any]]:
    """Coefficients, idle power among them, in which two GPUs differ."""
    plain = [{**gpu.calibration.model_dump(), "idle_power_w": gpu.idle_power_w} for gpu in (one, other)]
    return {name: (value, plain[1][name]) for name, value in plain[0].items() if value != plain[1][name]}
