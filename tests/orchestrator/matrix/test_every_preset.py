"""Every preset with every other, and what each claims: the folder is listed, so a new file is held to it too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import conf
from orchestrator.costmodel.cost import CostModel
from orchestrator.costmodel.work import Batch, all_parameters, expert_parameters
from orchestrator.errors import InfeasibleCell, UserError
from orchestrator.matrix.compose import compose
from orchestrator.matrix.defaults import Defaults
from orchestrator.matrix.matrix import build
from orchestrator.matrix.validate import cell_of, refuse_long_requests, settings_of
from orchestrator.plugins import part
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec
from orchestrator.spec.model import ModelSpec

CONF = Path(conf.__file__).parent
PAGE = Path(__file__).parents[3] / "docs" / "presets.md"

PUBLISHED = {  # billions of parameters: all, and used by a token where that is fewer; from the models' own cards
    "gemma3_12b": (11.77, None),  # the language model, table 1 of arXiv 2503.19786
    "gemma3_27b": (27.02, None),
    "llama2_7b": (6.74, None),
    "llama2_13b": (13.02, None),
    "llama2_70b": (68.98, None),
    "llama3_1_8b": (8.03, None),
    "llama3_1_70b": (70.6, None),
    "llama3_1_405b": (405.9, None),
    "llama3_3_70b": (70.6, None),
    "mistral_7b": (7.25, None),
    "mixtral_8x7b": (46.7, 12.9),
    "qwen3_8b": (8.2, None),
    "qwen3_14b": (14.8, None),
    "qwen3_32b": (32.8, None),
    "qwen3_30b_a3b": (30.5, 3.3),
    "qwen3_235b_a22b": (235, 22),
    "tiny_llama": (0.0193, None),  # nobody's: counted by hand
}


def presets(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def plain(group: str, name: str) -> dict[str, Any]:
    preset: dict[str, Any] = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    return preset


def active_parameters(model: ModelSpec) -> int:
    idle = (model.num_experts or 0) - (model.num_experts_per_tok or 0)
    return all_parameters(model) - model.num_hidden_layers * idle * expert_parameters(model)


GPUS = [name for name in presets("hardware") if plain("hardware", name).get("num_gpus")]
OBJECTIVES = [name for name in presets("slo") if name != "none"]


@pytest.mark.parametrize("name", presets("model"))
def test_the_figures_of_a_model_give_the_parameters_it_is_published_with(name: str) -> None:
    model, (published, active) = ModelSpec.model_validate(plain("model", name)), PUBLISHED[name]
    assert all_parameters(model) / 1e9 == pytest.approx(published, rel=0.01)
    assert (model.num_experts is not None) == (active is not None)
    if active is not None:
        assert active_parameters(model) / 1e9 == pytest.approx(active, rel=0.03)


@pytest.mark.parametrize("name", GPUS)
def test_a_gpu_draws_between_idle_and_its_limit_and_slows_down_at_its_lowest_cap(name: str) -> None:
    gpu = HardwareSpec.model_validate(plain("hardware", name))
    assert gpu.min_power_limit_w is not None
    assert gpu.idle_power_w < gpu.calibration.static_power_w < gpu.default_power_limit_w
    assert gpu.min_power_limit_w < gpu.default_power_limit_w <= gpu.max_power_limit_w
    model = ModelSpec.model_validate(plain("model", "llama3_1_8b"))
    heavy = Batch(n_tokens=4096, n_sampled=1, context_tokens=4096, n_pairs=4096**2 // 2, has_prefill=True)
    light = Batch(n_tokens=1, n_sampled=1, context_tokens=500, n_pairs=500)
    capped = gpu.model_copy(update={"power_limit_w": gpu.min_power_limit_w})
    for batch in (light, heavy):
        cost, held = CostModel(model, gpu, 1).cost(batch), CostModel(model, capped, 1).cost(batch)
        drawn_w = cost.energy_j(batch) / cost.time_s(batch.context_tokens)
        assert gpu.idle_power_w < drawn_w <= gpu.default_power_limit_w
        assert cost.sm_clock_mhz == gpu.max_sm_clock_mhz
        assert held.time_s(batch.context_tokens) >= cost.time_s(batch.context_tokens)
    assert held.power_capped
    assert held.energy_j(heavy) / held.time_s(heavy.context_tokens) <= gpu.min_power_limit_w


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_named_by_its_file(name: str) -> None:
    assert plain("slo", name)["name"] == name


def gpu_row(name: str) -> str:
    gpu = HardwareSpec.model_validate(plain("hardware", name))
    figures = (gpu.memory_gib, gpu.memory_bandwidth_gb_s, gpu.peak_tflops, gpu.interconnect_gb_s, gpu.idle_power_w)
    caps = f"{gpu.min_power_limit_w:g}-{gpu.max_power_limit_w:g}"
    clocks = f"{gpu.min_sm_clock_mhz}-{gpu.max_sm_clock_mhz}"
    return " | ".join((f"| `{name}`", gpu.name, *(f"{figure:g}" for figure in figures), caps, clocks))


def model_row(name: str) -> str:
    model = ModelSpec.model_validate(plain("model", name))
    billions = f"{all_parameters(model) / 1e9:.1f}"
    if model.num_experts:
        billions += f", {active_parameters(model) / 1e9:.1f} a token"
    heads = f"{model.num_attention_heads}/{model.num_key_value_heads} x {model.head_dim}"
    shape = (model.num_hidden_layers, model.hidden_size, heads, model.vocab_size, model.max_model_len)
    kv_kib = f"{model.kv_bytes_per_token / 1024:g}"
    return " | ".join((f"| `{name}`", model.name, billions, *map(str, shape), f"{kv_kib} |"))


def objective_row(name: str) -> str:
    slo = plain("slo", name)
    return f"| `{name}` | {slo['ttft_ms']} | {slo['tpot_ms']} |"


@pytest.mark.parametrize(
    ("group", "row", "names"),
    [
        ("hardware", gpu_row, GPUS),
        ("model", model_row, presets("model")),
        ("slo", objective_row, OBJECTIVES),
    ],
)
def test_the_page_shows_what_the_files_say(group: str, row: Callable[[str], str], names: list[str]) -> None:
    page = PAGE.read_text()
    assert [name for name in names if row(name) not in page] == [], f"docs/presets.md: rows of {group}"


def _composed(*arguments: str) -> tuple[dict[str, Any], ...]:
    expansion = compose(arguments)
    assert expansion is not None
    return Defaults(expansion.points).configs


def test_every_objective_composes_and_limits_something() -> None:
    preset = [settings_of(config).slo for config in _composed("-m", "slo=glob(*)")]
    assert {slo.name for slo in preset if slo.limits_anything} == set(OBJECTIVES)
    assert sum(not slo.limits_anything for slo in preset) == 1


def test_presets_become_tenants_on_the_command_line() -> None:
    code = "+workflow@workflow.tenants.code.workflow=copilot,multi_agent_coding"
    expansion = compose(["-m", "workflow=composite", code, "+workflow.tenants.code.weight=1,2"])
    assert expansion is not None
    matrix, _ = build(expansion)
    assert matrix.swept == ("workflow.tenants.code.workflow.kind", "workflow.tenants.code.weight")
    mixes = [cell.workflow.model_dump()["tenants"] for cell in matrix.cells]
    assert {(mix["code"]["workflow"]["kind"], mix["code"]["weight"]) for mix in mixes} == {
        *(("copilot", 1.0), ("copilot", 2.0)),
        *(("multi_agent_coding", 1.0), ("multi_agent_coding", 2.0)),
    }
    assert all(set(mix) == {"chat", "map_reduce", "code"} for mix in mixes)


@pytest.mark.slow
def test_every_model_goes_with_every_gpu_and_every_workflow() -> None:
    """Refused only by a context too short for a workflow, or by the engine's check; each is feasible with something."""
    models = [config["model"] for config in _composed("-m", "model=glob(*)")]
    gpus = [config["hardware"] for config in _composed("-m", "hardware=glob(*)") if config["hardware"]["num_gpus"]]
    workflows = _composed("-m", "workflow=glob(*)", "load.num_workflows=2")
    feasible: set[tuple[str, str, str]] = set()
    for model in models:
        for workflow in workflows:
            cells = [cell_of({**workflow, "model": model, "hardware": gpu}) for gpu in gpus]
            try:
                refuse_long_requests(cells[:1])
            except UserError as error:
                assert "model.max_model_len" in str(error)  # noqa: PT017 - the refusal is one of two good ends
                continue
            feasible |= {(c.model.name, c.hardware.name, c.workflow.kind) for c in cells if _starts(c)}
    everything = (models, "name", 0), (gpus, "name", 1), ([flow["workflow"] for flow in workflows], "kind", 2)
    for options, key, place in everything:
        assert {option[key] for option in options} == {triple[place] for triple in feasible}


def _starts(cell: Cell) -> bool:
    """Whether some number of GPUs of one node is enough."""
    for n_gpus in (1, 2, 4, 8):
        try:
            engine = cell.engine.model_copy(update={"tensor_parallel_size": n_gpus})
            part("orchestrator.engines", "simulated", "check")(cell.model_copy(update={"engine": engine}))
        except InfeasibleCell:
            continue
        return True
    return False
