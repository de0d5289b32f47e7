"""Quick cells of the shipped workflows."""

import contextlib
from typing import Any

import psutil
from sample_sweeps import a_cell

from orchestrator.spec.cell import Cell

LENGTHS = {"kind": "fixed", "tokens": 20}


CHAT = {"kind": "chat", "prompt_tokens": LENGTHS, "output_tokens": LENGTHS}


MAP_REDUCE = {"kind": "map_reduce_summary", "chunk_tokens": 2048, "output_tokens": 8, "documents": [0]}


WORKFLOWS: dict[str, dict[str, Any]] = {
    "chat": CHAT,
    "copilot": {"kind": "copilot", "output_tokens": 8},
    "chain_summary": {"kind": "chain_summary", "chunk_tokens": 2048, "output_tokens": 8, "documents": [0]},
    "map_reduce_summary": MAP_REDUCE,
    "multi_agent_coding": {"kind": "multi_agent_coding", "branches": 4, "rounds": 1, "output_tokens": 8},
    "composite": {
        "kind": "composite",
        "tenants": {
            "chat": {"weight": 1, "workflow": CHAT},
            "summary": {"weight": 1, "workflow": MAP_REDUCE, "priority": -1},
        },
    },
}


def recording_cell(workflow: str, *, users: int = 2, num_workflows: int = 2, **engine: Any) -> Cell:
    """A cell on the recording engine, through the Ray graph."""
    options = {"kind": "graph_plugins.recording", "max_num_seqs": 64, "max_num_batched_tokens": 8192, **engine}
    return _cell(workflow, options, users, num_workflows)


def paced_cell(workflow: str, *, users: int, num_workflows: int, **changes: Any) -> Cell:
    """A cell on the simulated engine in real time, through the Ray graph."""
    options = {"kind": "simulated", "clock": "wall", "max_num_seqs": 64, "max_num_batched_tokens": 8192}
    cell = _cell(workflow, options, users, num_workflows)
    return Cell.model_validate(cell.canonical() | {"collectors": {}} | changes)


def _cell(workflow: str, engine: dict[str, Any], users: int, num_workflows: int) -> Cell:
    plain = a_cell().canonical()
    return Cell.model_validate(
        plain
        | {
            "model": {**plain["model"], "max_position_embeddings": 131072, "max_model_len": 131072},
            "engine": engine,
            "workflow": {**WORKFLOWS[workflow], "executor": "ray"},
            "load": {"kind": "closed", "users": users, "num_workflows": num_workflows},
            "protocol": {"idle_baseline_s": 0.0, "min_window_s": 0.0, "max_send_delay_ms": 60000.0},
            "collectors": {"power": "none"},
        }
    )


def role_processes() -> set[psutil.Process]:
    """Return the role actors of this test's own Ray."""
    processes = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if "ray::RoleActor" in process.name():
                processes.add(process)
    return processes
