from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from pydantic import TypeAdapter

import conf
from workflows import plugins
from workflows.load import LoadOptions

CONF = Path(conf.__file__).parent


@pytest.mark.parametrize("kind", ["closed", "poisson", "replay"])
def test_every_kind_of_load_has_a_preset(kind):
    preset = OmegaConf.load(CONF / "load" / f"{kind}.yaml")
    whole = OmegaConf.to_container(
        OmegaConf.create({"workflow": {"default_users": 5, "default_num_workflows": 7}, "load": preset}), resolve=True
    )
    load = TypeAdapter(LoadOptions).validate_python(whole["load"])
    assert load.kind == kind
    assert getattr(load, "users", 5) == 5


def test_every_preset_names_a_file_of_the_library():
    presets = [yaml.safe_load(path.read_text())["kind"] for path in (CONF / "workflow").glob("*.yaml")]
    assert set(presets) == set(plugins.available("workflows.library"))


def test_a_workflow_of_ones_own_is_named_by_its_module(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "flow.py").write_text("MARK = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert plugins.load("workflows.library", "mine.flow").MARK == 7


@pytest.mark.parametrize("kind", ["nothing", "nobody.flow", ""])
def test_an_unknown_workflow_is_refused_with_those_there_are(kind):
    with pytest.raises(plugins.UnknownPlugin, match=r"allowed: chain_summary, .*, or a dotted module path"):
        plugins.load("workflows.library", kind)
