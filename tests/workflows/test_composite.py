from collections import Counter
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

import conf
from workflows.graph import Shared
from workflows.library import composite

CHAT = {
    "kind": "chat",
    "prompt_tokens": {"kind": "fixed", "tokens": 10},
    "output_tokens": {"kind": "fixed", "tokens": 5},
    "system_prompt_tokens": 100,
}
CHAIN = {"kind": "chain_summary", "chunk_tokens": 4096, "output_tokens": 50}


def mix(seed=0, **tenants):
    return composite.build(composite.Options(kind="composite", tenants=tenants), seed=seed)


def test_tenants_get_their_share_and_their_name():
    source = mix(talk={"weight": 3, "workflow": CHAT}, read={"weight": 1, "workflow": CHAIN})
    flows = [source.workflow(index) for index in range(4000)]
    share = Counter(flow.tenant for flow in flows)
    assert share["talk"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert set(share) == {"talk", "read"}
    assert {flow.tenant: flow.steps[0].role for flow in flows} == {"talk": "assistant", "read": "summarizer"}
    assert len({flow.workflow_id for flow in flows}) == 4000


def test_the_draw_belongs_to_the_index_and_the_seed():
    def tenants(seed):
        source = mix(seed, a={"weight": 1, "workflow": CHAT}, b={"weight": 1, "workflow": CHAT})
        return [source.workflow(index).tenant for index in range(64)]

    assert tenants(1) == tenants(1)
    assert tenants(1) != tenants(2)


def test_a_shared_prefix_is_shared_within_its_tenant_only():
    source = mix(a={"weight": 1, "workflow": CHAT}, b={"weight": 1, "workflow": CHAT})
    flows = [source.workflow(index) for index in range(64)]
    assert {flow.tenant for flow in flows} == {"a", "b"}
    for flow in flows:
        assert flow.steps[0].prompt[0] == Shared(f"{flow.tenant}/chat/system", 100)


def test_a_priority_is_that_of_the_tenant_and_of_the_mix_it_is_in():
    inner = {"kind": "composite", "tenants": {"talk": {"weight": 1, "workflow": CHAT, "priority": 3}}}
    source = mix(a={"weight": 1, "workflow": CHAT, "priority": -1}, b={"weight": 1, "workflow": inner, "priority": 5})
    assert {flow.tenant: flow.priority for flow in map(source.workflow, range(64))} == {"a": -1, "b": 8}


def test_a_trace_starts_over_at_its_end(tmp_path):
    path = tmp_path / "two.csv"
    path.write_text("arrival_s,ContextTokens,GeneratedTokens\n0,11,1\n1,22,2\n")
    source = mix(only={"weight": 1, "workflow": {"kind": "trace_replay", "trace": str(path)}})
    assert source.arrivals_s is None
    assert [source.workflow(index).steps[0].output_tokens for index in range(5)] == [1, 2, 1, 2, 1]


def test_mixes_can_be_mixed():
    inner = {"kind": "composite", "tenants": {"talk": {"weight": 1, "workflow": CHAT}}}
    assert mix(outer={"weight": 1, "workflow": inner}).workflow(0).steps[0].prompt[0].name == "outer/talk/chat/system"


def test_every_preset_can_be_a_tenant():
    folder = Path(conf.__file__).parent / "workflow"
    presets = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*.yaml")}
    options = {
        name: {key: value for key, value in preset.items() if not key.startswith("default")}
        for name, preset in presets.items()
    }
    source = mix(**{name: {"weight": 1, "workflow": workflow} for name, workflow in options.items()})
    flows = [source.workflow(index) for index in range(40 * len(presets))]
    assert {flow.tenant for flow in flows} == set(presets)
    assert len({flow.workflow_id for flow in flows}) == len(flows)
    shared = {(flow.tenant, part.name) for flow in flows for part in flow.steps[0].prompt if isinstance(part, Shared)}
    assert all(name.startswith(f"{tenant}/") for tenant, name in shared)


def test_a_workflow_of_ones_own_can_be_a_tenant(tmp_path, monkeypatch):
    (tmp_path / "own_flows.py").write_text(
        "from workflows.library.chat import Options as Chat, build as chat\n"
        "class Options(Chat):\n"
        "    kind: str\n"
        "def build(options, *, seed):\n"
        "    return chat(options, seed=seed)\n"
    )
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "mine.py").write_text("from own_flows import Options, build\n")
    monkeypatch.syspath_prepend(tmp_path)
    source = mix(mine={"weight": 1, "workflow": {**CHAT, "kind": "flows.mine"}}, talk={"weight": 1, "workflow": CHAT})
    flows = [source.workflow(index) for index in range(64)]
    assert {flow.tenant: flow.steps[0].output_tokens for flow in flows} == {"mine": 5, "talk": 5}


@pytest.mark.parametrize(
    ("tenants", "message"),
    [
        ({}, "at least 1 item"),
        ({"a": {"weight": 0, "workflow": CHAT}}, "greater than 0"),
        ({"a": {"weight": 1, "workflow": {"kind": "chatt"}}}, "no workflows.library plug-in 'chatt'; allowed: chain_"),
        ({"a": {"weight": 1, "workflow": {}}}, "kind must name one of chain_summary, chat, .*, got None"),
        ({"a": {"weight": 1, "workflow": {**CHAT, "system_prompt_tokens": -1}}}, "system_prompt_tokens"),
        ({"a.b": {"weight": 1, "workflow": CHAT}}, "should match pattern"),
        ({"a": {"weight": 1, "workflow": {"kind": "workflows.graph"}}}, "kind: workflows.graph has no Options, which"),
    ],
)
def test_wrong_tenants_are_refused(tenants, message):
    with pytest.raises(ValidationError, match=message):
        mix(**tenants)


def test_an_error_in_a_tenant_is_placed():
    with pytest.raises(ValidationError) as caught:
        mix(a={"weight": 1, "workflow": {**CHAT, "system_prompt_tokens": -1}})
    assert caught.value.errors()[0]["loc"] == ("tenants", "a", "workflow", "system_prompt_tokens")
