"""Cells of engine=openai, and their requests."""

from pathlib import Path

import yaml

from orchestrator.engines import openai
from orchestrator.spec.cell import Cell
from workflows.clock import MonotonicClock
from workflows.request import Request, Segment

_CONF = Path(__file__).parents[4] / "conf"


def preset(name):
    return yaml.safe_load((_CONF / f"{name}.yaml").read_text())


def a_cell(base_url, *, workflow=None, load=None, protocol=None, **options):
    return Cell.model_validate(
        {
            "model": preset("model/llama3_1_8b"),
            "hardware": preset("hardware/cpu"),
            "engine": {**preset("engine/openai"), "base_url": base_url, **options},
            "workflow": workflow or preset("workflow/chat"),
            "load": load or {"kind": "closed", "users": 1, "num_workflows": 1},
            "collectors": preset("collectors/none"),
            "protocol": protocol or {},
        }
    )


def a_request(*segments, output_tokens=5, remaining_tokens=None, name="w/ask"):
    return Request(
        request_id=name,
        workflow_id="w",
        tenant="t",
        step="ask",
        role="r",
        prompt=segments or (Segment("w:message", 12),),
        output_tokens=output_tokens,
        remaining_tokens=output_tokens if remaining_tokens is None else remaining_tokens,
    )


async def run_requests(base_url, *requests, **options):
    """Return the provenance of the engine, and the completions of sequential requests."""
    cell = a_cell(base_url, **options)
    engine = openai.build(cell, MonotonicClock())
    try:
        started = await engine.start()
        await engine.begin(cell, 0.0)
        return started.provenance, [await engine.generate(request) for request in requests]
    finally:
        await engine.close()
