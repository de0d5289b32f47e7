"""A fitted GPU as the text of a hardware preset."""

import textwrap
from collections.abc import Sequence
from typing import Any

import yaml

from orchestrator.spec.hardware import Calibration, HardwareSpec

_COMMENT_WIDTH = 116
_KNOBS = {
    "power_limit_w": "watts, or a share such as 60% of the maximum; null: the default limit",
    "sm_clock_mhz": "lock; null: the driver's choice",
}


def rounded(hardware: HardwareSpec) -> HardwareSpec:
    """Return the GPU with its coefficients rounded as they are written, so that the errors are those of the preset."""
    plain = {name: float(_digits(value)) for name, value in hardware.calibration.model_dump().items()}
    return hardware.model_copy(
        update={
            "idle_power_w": float(_digits(hardware.idle_power_w)),
            "calibration": Calibration.model_validate(plain),
        }
    )


def preset_text(hardware: HardwareSpec, fitted: Sequence[str], source: str) -> str:
    """Return the YAML of a preset.

    Args:
        hardware: the fitted GPU; its power limit and clock are left to the default.
        fitted: names of the fitted coefficients; of the others only those that differ from the default are written.
        source: one paragraph on where the figures come from, written as a comment.
    """
    comment = textwrap.wrap(source, _COMMENT_WIDTH, break_on_hyphens=False)
    values = {name: getattr(hardware, name) for name in HardwareSpec.model_fields if name != "calibration"}
    values["idle_power_w"] = float(_digits(hardware.idle_power_w))
    lines = [
        *(f"# {line}" for line in comment),
        *(_line(name, value) for name, value in values.items() if name not in _KNOBS),
        *(f"{name}: null # {meaning}" for name, meaning in _KNOBS.items()),
        *_calibration_lines(hardware.calibration, fitted),
    ]
    return "\n".join(lines) + "\n"


def _calibration_lines(calibration: Calibration, fitted: Sequence[str]) -> list[str]:
    defaults = {name: field.default for name, field in Calibration.model_fields.items()}
    written = {
        name: value for name, value in calibration.model_dump().items() if name in fitted or value != defaults[name]
    }
    return ["calibration:", *(f"  {name}: {_digits(value)}" for name, value in written.items())]


def _line(name: str, value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return yaml.safe_dump({name: value}, width=200).strip()


def _digits(value: float) -> str:
    """Return four significant digits; with a decimal point if there is an exponent, as YAML 1.1 demands."""
    text = f"{value:.4g}"
    return text.replace("e", ".0e") if "e" in text and "." not in text else text
