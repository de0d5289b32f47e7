"""What ``auto`` becomes, depending on the nodes, and that a given choice takes precedence."""

from collections.abc import Callable

import pytest

from orchestrator.matrix import defaults
from orchestrator.matrix.compose import compose
from orchestrator.matrix.expand import Point
from orchestrator.matrix.matrix import build
from orchestrator.ray_runtime.preflight import Surroundings
from orchestrator.spec.settings import Matrix, Settings

Composed = Callable[..., tuple[Matrix, Settings]]


AUTO = ("engine=auto", "hardware=auto", "collectors=auto")


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What the nodes have from now on; the list holds the clusters that were probed."""
    probed: list[str] = []

    def have(*gpus: str, has_vllm: bool, has_rapl: bool = False) -> list[str]:
        def probe(cluster):
            probed.append(cluster.address)
            return Surroundings(gpus=gpus, has_vllm=has_vllm, has_rapl=has_rapl, where="here")

        monkeypatch.setattr(defaults, "surroundings_of", probe)
        return probed

    return have


def test_gpus_and_vllm_make_it_the_real_engine_on_their_preset_and_sampled(composed: Composed, nodes) -> None:
    nodes("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3", has_vllm=True)
    matrix, _ = composed(*AUTO, "engine.max_num_seqs=7")
    (cell,) = matrix.cells
    assert (cell.engine.kind, cell.engine.max_num_seqs) == ("vllm", 7)
    assert cell.hardware.name == "NVIDIA H100 80GB HBM3"
    assert (cell.collectors.power, cell.collectors.cpu_power) == ("nvml", "none")
    assert matrix.notes[0] == "engine=auto: vLLM, because 2 x NVIDIA H100 80GB HBM3 were found here"
    assert "collectors=auto: GPU power by NVML; no CPU power, because RAPL cannot be read here" in matrix.notes


def test_readable_cpu_counters_are_read_beside_an_engine_on_that_machine(composed: Composed, nodes) -> None:
    nodes(has_vllm=True, has_rapl=True)
    matrix, _ = composed("engine=vllm", "hardware=auto", "collectors=auto")
    assert (matrix.cells[0].collectors.power, matrix.cells[0].collectors.cpu_power) == ("none", "rapl")
    assert "collectors=auto: no GPU to measure; CPU power by RAPL, which can be read here" in matrix.notes
    assert composed("engine=simulated", "collectors=auto")[0].cells[0].collectors.cpu_power == "none"


def test_a_knob_is_set_on_real_gpus(composed: Composed, nodes) -> None:
    nodes("NVIDIA H100 80GB HBM3", has_vllm=True)
    matrix, _ = composed(*AUTO, "hardware.power_limit_w=50%,100%", flags=("-m",))
    assert {cell.engine.kind for cell in matrix.cells} == {"vllm"}
    assert [cell.hardware.power_limit_w for cell in matrix.cells] == [350, 700]


@pytest.mark.parametrize("knob", ["power_limit_w=350", "sm_clock_mhz=1200"])
def test_a_knob_that_cannot_be_set_is_refused(refused: Callable[..., str], knob: str) -> None:
    message = refused("engine=openai", "engine.base_url=http://localhost:1", "hardware=h100_sxm", f"hardware.{knob}")
    name = knob.partition("=")[0]
    assert message.startswith(f"hardware.{name}: must be null beside engine.kind=openai, got ")


def test_gpus_without_vllm_are_simulated_on_their_own_figures_with_a_note(composed: Composed, nodes) -> None:
    nodes("NVIDIA L4", has_vllm=False)
    matrix, _ = composed(*AUTO)
    assert matrix.cells[0].engine.kind == "simulated"
    assert matrix.cells[0].hardware.name == "NVIDIA L4"
    assert "vLLM is not installed here, where 1 x NVIDIA L4 were found" in matrix.notes[0]


def test_no_gpu_is_the_simulated_engine_with_simulated_power(composed: Composed, nodes) -> None:
    nodes(has_vllm=True)
    (cell,) = composed(*AUTO)[0].cells
    assert (cell.engine.kind, cell.hardware.name) == ("simulated", "NVIDIA A100-SXM4-40GB")
    assert cell.collectors.power == "simulated"


def test_a_real_engine_without_gpus_runs_on_the_cpu(composed: Composed, nodes) -> None:
    nodes(has_vllm=True)
    (cell,) = composed("engine=vllm", "hardware=auto", "collectors=auto")[0].cells
    assert (cell.hardware.name, cell.hardware.num_gpus) == ("a CPU", 0)


def test_a_gpu_without_a_preset_is_refused(refused: Callable[..., str], nodes) -> None:
    nodes("NVIDIA GeForce RTX 4090", has_vllm=True)
    assert refused(*AUTO) == (
        "hardware=auto: no preset is named 'NVIDIA GeForce RTX 4090', the GPU found here; write one "
        "(docs/extending.md), or choose one with hardware=NAME"
    )


def test_nodes_are_probed_once_and_only_if_something_is_auto(composed: Composed, nodes) -> None:
    probed = nodes(has_vllm=False)
    composed("seed=1,2", flags=("-m",))
    assert probed == []
    composed(*AUTO, "seed=1,2", "cluster=running", flags=("-m",))
    assert probed == ["auto"]


def test_a_resume_alone_probes_no_node(composed: Composed, nodes, presets) -> None:
    probed = nodes(has_vllm=False)
    expansion = compose(["resume=batch-20261120-091500-ab12", "cluster=running"])
    assert expansion is not None
    build(expansion)
    assert probed == []


def test_simulated_power_beside_a_real_engine_is_refused(refused: Callable[..., str]) -> None:
    message = refused("engine=vllm", "hardware=cpu", "collectors=simulated")
    assert message.startswith("collectors.power: must be auto or none, got 'simulated'")
    assert "engine.kind=vllm runs in real time" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("collectors.power=nvml",), "collectors.power: must be auto or none, got 'nvml', which is sampled"),
        (("collectors.cpu_power=rapl",), "collectors.cpu_power: must be auto or none, got 'rapl', which is sampled"),
        (("engine=real", "collectors.power=nvml"), "collectors.power: must be auto or none, got 'nvml': engine.kind="),
        (("collectors.power=nvlm",), "collectors.power: must be one of auto, none, nvml, replay, simulated, or "),
        (("collectors.power=replay",), "collectors.path: must name the file that power=replay replays"),
        (("collectors.power=nobody.knows",), "collectors.power: no collectors.sources plug-in 'nobody.knows'"),
    ],
)
def test_what_cannot_be_sampled_is_refused(
    refused: Callable[..., str], arguments: tuple[str, ...], message: str
) -> None:
    assert refused(*arguments).startswith(message)


def test_keys_for_the_load_preset_are_no_options_of_a_workflow_nor_of_a_tenant() -> None:
    tenant = {"weight": 2, "workflow": {"kind": "copilot", "default_users": 1, "default_num_workflows": 9}}
    workflow = {"kind": "composite", "default_users": 16, "tenants": {"a": tenant}}
    point = Point({"workflow": workflow}, choices={}, given=frozenset())
    assert defaults.Defaults((point,)).configs == (
        {"workflow": {"kind": "composite", "tenants": {"a": {"weight": 2, "workflow": {"kind": "copilot"}}}}},
    )
