"""Cells and requests for the tests of vLLM as an engine."""

from pathlib import Path
from typing import Any

import yaml

import conf
from orchestrator.spec.cell import Cell
from workflows.request import Request, Segment

CONF = Path(conf.__file__).parent


CPU = {"name": "a CPU", "num_gpus": 0}


def preset(group: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    return content


def a_cell(
    *, model: str = "tiny_llama", hardware: str | None = None, max_model_len: int | None = None, **engine: Any
) -> Cell:
    """Return a chat cell on vLLM, on a CPU unless ``hardware`` names a preset."""
    shape = preset("model", model)
    return Cell.model_validate(
        {
            "model": shape if max_model_len is None else {**shape, "max_model_len": max_model_len},
            "engine": {**preset("engine", "vllm"), "max_num_seqs": 8, **engine},
            "hardware": CPU if hardware is None else preset("hardware", hardware),
            "workflow": preset("workflow", "chat"),
            "load": {"kind": "closed", "users": 4, "num_workflows": 8},
            "collectors": {"power": "none"},
        }
    )


def a_request(name: str, *, n_prompt: int = 64, n_output: int = 8, shared: int = 0, **more: Any) -> Request:
    prompt = (Segment("shared:text", shared), Segment(f"{name}:text", n_prompt))
    return Request(
        request_id=name,
        workflow_id=name,
        tenant="tenant",
        step="answer",
        role="role",
        prompt=prompt if shared else prompt[1:],
        output_tokens=n_output,
        **more,
    )
