"""Preflight: each engine is checked once before a sweep begins, not once per cell."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from driven_cells import a_driven_cell
from sample_plugins import looking
from sample_sweeps import settings

from orchestrator.errors import EnvironmentFailure
from orchestrator.ray_runtime import node_probe
from orchestrator.ray_runtime.preflight import preflight
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings
from tests.fake_nvml.fake_gpus import H100

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
def _no_checks_yet():
    looking.looked.clear()


def test_once_for_each_engine_key():
    preflight([_cell("sample_plugins.looking", n, repeat=repeat) for n in (4, 8) for repeat in range(3)], settings())
    assert looking.looked == [4, 8]


def test_an_engine_need_not_have_a_check():
    preflight([_cell("sample_plugins.engine", 4)], settings())
    assert looking.looked == []


@pytest.fixture
def h100s(make_fake_gpus, monkeypatch, tmp_path):
    """Two H100 that this process sees."""
    gpus = make_fake_gpus([H100] * 2)
    gpus.load(monkeypatch)
    monkeypatch.setenv("JOULEGRID_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return gpus


def test_limits_that_may_not_be_set_end_the_sweep_before_it_begins_in_one_line(h100s):
    h100s.set_privileged(False)
    with pytest.raises(EnvironmentFailure) as caught:
        preflight([a_driven_cell(power_limit_w=300)], settings())
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("hardware.power_limit_w may not be set on GPU ")
    assert "hardware.power_limit_w=null" in str(caught.value)
    preflight([a_driven_cell()], settings())
    assert h100s[0].power_limit_w == 700


def test_each_setting_is_checked_against_what_the_gpus_take(h100s, make_fake_gpus, monkeypatch):
    preflight([a_driven_cell(power_limit_w=300), a_driven_cell(sm_clock_mhz=1200)], settings())
    make_fake_gpus([replace(H100, min_limit_w=350)]).load(monkeypatch)
    with pytest.raises(EnvironmentFailure, match="300"):
        preflight([a_driven_cell(power_limit_w=400), a_driven_cell(power_limit_w=300)], settings())


def test_hidden_gpus_are_not_checked(h100s, monkeypatch):
    h100s.set_privileged(False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    preflight([a_driven_cell(power_limit_w=300)], settings())


def test_one_node_that_allows_it_is_enough(monkeypatch):
    refusals = [("node a: not permitted",), None, (None,)]
    monkeypatch.setattr(node_probe, "node_refusals", lambda address, requested: refusals)
    cells, cluster = [a_driven_cell(power_limit_w=300)], settings(cluster=ClusterSettings(address="auto"))
    preflight(cells, cluster)
    refusals[2] = ("node c: not permitted",)
    with pytest.raises(EnvironmentFailure, match="node a: not permitted"):
        preflight(cells, cluster)
