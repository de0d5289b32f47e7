"""Cells on the engine that drives fake GPUs, measured through NVML."""

from pathlib import Path
from typing import Any

import yaml

import conf
from orchestrator.spec.cell import Cell

_CONF = Path(conf.__file__).parent
_DRIVEN = Path(__file__).parents[1] / "fake_nvml" / "conf" / "engine" / "driven.yaml"


def a_driven_cell(
    *,
    power_limit_w: float | None = None,
    sm_clock_mhz: int | None = None,
    num_workflows: int = 4,
    executor: str = "local",
    engine: dict[str, Any] | None = None,
    collectors: dict[str, Any] | None = None,
    protocol: dict[str, Any] | None = None,
    repeat: int = 0,
) -> Cell:
    """Return a chat of two users for about a second, changed by the arguments."""
    hardware = yaml.safe_load((_CONF / "hardware" / "h100_sxm.yaml").read_text())
    lengths = {"kind": "fixed", "tokens": 64}
    return Cell.model_validate(
        {
            "model": {k: v for k, v in _preset("model", "llama3_1_8b").items() if k != "config_path"},
            "engine": {**yaml.safe_load(_DRIVEN.read_text()), "max_num_seqs": 8, **(engine or {})},
            "hardware": {**hardware, "power_limit_w": power_limit_w, "sm_clock_mhz": sm_clock_mhz},
            "workflow": {"kind": "chat", "executor": executor, "prompt_tokens": lengths, "output_tokens": lengths},
            "load": {"kind": "closed", "users": 2, "num_workflows": num_workflows},
            "collectors": {"power": "nvml", **(collectors or {})},
            "protocol": {"idle_baseline_s": 0.3, "min_window_s": 0, **(protocol or {})},
            "repeat": repeat,
        }
    )


def _preset(group: str, name: str) -> dict[str, Any]:
    preset: dict[str, Any] = yaml.safe_load((_CONF / group / f"{name}.yaml").read_text())
    return preset
