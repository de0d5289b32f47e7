"""What ``auto`` becomes, by what the nodes have, and that a choice holds against it."""

from collections.abc import Callable

import pytest

from orchestrator.matrix import auto
from orchestrator.matrix.build import build
from orchestrator.matrix.compose import compose
from orchestrator.matrix.surroundings import Surroundings
from orchestrator.settings import Matrix, Settings

Composed = Callable[..., tuple[Matrix, Settings]]
AUTO = ("engine=auto", "hardware=auto", "collectors=auto")


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What the nodes have from now on; the list says which clusters were asked."""
    asked: list[str] = []

    def have(*gpus: str, has_vllm: bool) -> list[str]:
        def found(cluster):
            asked.append(cluster.address)
            return Surroundings(gpus=gpus, has_vllm=has_vllm, where="here")

        monkeypatch.setattr(auto, "surroundings_of", found)
        return asked

    return have


def test_gpus_and_vllm_make_it_the_real_engine_on_their_preset(composed: Composed, nodes) -> None:
    nodes("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3", has_vllm=True)
    matrix, _ = composed(*AUTO, "engine.max_num_seqs=7")
    (cell,) = matrix.cells
    assert (cell.engine.kind, cell.engine.max_num_seqs) == ("vllm", 7)
    assert cell.hardware.name == "NVIDIA H100 80GB HBM3"
    assert cell.collectors.power == "none"
    assert matrix.notes[0] == "engine=auto: vLLM, because 2 x NVIDIA H100 80GB HBM3 were found here"
    assert "energy is not measured beside engine.kind=vllm: latencies and throughput only" in matrix.notes


def test_what_needs_a_knob_is_simulated_on_the_figures_of_the_gpus_and_told(composed: Composed, nodes) -> None:
    nodes("NVIDIA H100 80GB HBM3", has_vllm=True)
    matrix, _ = composed(*AUTO, "hardware.power_limit_w=50%,100%", flags=("-m",))
    assert {cell.engine.kind for cell in matrix.cells} == {"simulated"}
    assert [cell.hardware.power_limit_w for cell in matrix.cells] == [350, 700]
    assert "hardware.power_limit_w is given, which this version does not set on the 1 x NVIDIA H100" in matrix.notes[0]


def test_a_cap_on_a_real_gpu_is_refused_rather_than_recorded_and_not_set(refused: Callable[..., str]) -> None:
    message = refused("engine=vllm", "hardware=h100_sxm", "collectors=auto", "hardware.power_limit_w=50%")
    assert message.startswith("hardware.power_limit_w: must be null beside engine.kind=vllm, got 350")


def test_gpus_without_vllm_are_simulated_on_their_own_figures_and_told(composed: Composed, nodes) -> None:
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


def test_a_gpu_without_a_preset_is_the_users_to_describe(refused: Callable[..., str], nodes) -> None:
    nodes("NVIDIA GeForce RTX 4090", has_vllm=True)
    assert refused(*AUTO) == (
        "hardware=auto: no preset is named 'NVIDIA GeForce RTX 4090', the GPU found here; write one "
        "(docs/extending.md), or choose one with hardware=NAME"
    )


def test_nodes_are_asked_once_and_only_if_something_is_auto(composed: Composed, nodes) -> None:
    asked = nodes(has_vllm=False)
    composed("seed=1,2", flags=("-m",))
    assert asked == []
    composed(*AUTO, "seed=1,2", "cluster=running", flags=("-m",))
    assert asked == ["auto"]


def test_who_only_resumes_asks_no_node(composed: Composed, nodes, presets) -> None:
    asked = nodes(has_vllm=False)
    expansion = compose(["resume=batch-20261120-091500-ab12", "cluster=running"])
    assert expansion is not None
    build(expansion)
    assert asked == []


def test_simulated_power_beside_a_real_engine_is_refused(refused: Callable[..., str]) -> None:
    message = refused("engine=vllm", "hardware=cpu", "collectors=simulated")
    assert message.startswith("collectors.power: must be auto or none, got 'simulated'")
    assert "engine.kind=vllm runs in real time" in message
