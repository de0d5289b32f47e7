"""Engines look around once before a sweep begins, not once a cell."""

from pathlib import Path

import pytest
import yaml
from sample_plugins import looking

from orchestrator.cell import Cell
from orchestrator.matrix.preflight import preflight

_CONF = Path(__file__).parents[3] / "conf"


def _cell(kind, max_num_seqs, repeat=0):
    def preset(name):
        return yaml.safe_load((_CONF / f"{name}.yaml").read_text())

    return Cell.model_validate(
        {
            "model": preset("model/llama3_1_8b"),
            "hardware": preset("hardware/cpu"),
            "engine": {"kind": kind, "max_num_seqs": max_num_seqs, "max_num_batched_tokens": 512},
            "workflow": preset("workflow/chat"),
            "load": {"kind": "closed", "users": 1, "num_workflows": 1},
            "repeat": repeat,
        }
    )


@pytest.fixture(autouse=True)
def _nothing_looked_at():
    looking.looked.clear()


def test_once_for_each_engine_key():
    preflight([_cell("sample_plugins.looking", n, repeat=repeat) for n in (4, 8) for repeat in range(3)])
    assert looking.looked == [4, 8]


def test_an_engine_need_not_look():
    preflight([_cell("sample_plugins.engine", 4)])
    assert looking.looked == []
