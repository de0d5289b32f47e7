"""A group of engines: requests by role, series merged, energy of all their GPUs."""

import asyncio
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sample_sweeps import a_cell

from orchestrator.matrix.validate import infeasible_cells
from orchestrator.runner.local import run_cell
from orchestrator.serving.engine import EngineStart
from orchestrator.serving.group import EngineGroup, merge_series
from orchestrator.spec.cell import Cell

PLAIN = a_cell().canonical()


BIG = {**PLAIN["model"], "name": "big", "num_hidden_layers": 8}


SIMULATED = {"kind": "simulated", "max_num_seqs": 16, "max_num_batched_tokens": 2048}


FOUR_GPUS = {**PLAIN["hardware"], "num_gpus": 4}


CODING = {"kind": "multi_agent_coding", "branches": 4, "rounds": 1, "output_tokens": 16}


def coding_cell(**roles: dict[str, object]) -> Cell:
    """An architect, coders, reviewers and revisers in virtual time."""
    changes = {
        "model": {**PLAIN["model"], "max_position_embeddings": 32768, "max_model_len": 32768},
        "engine": SIMULATED,
        "hardware": FOUR_GPUS,
        "workflow": CODING,
        "load": {"kind": "closed", "users": 2, "num_workflows": 4},
        "protocol": {"min_window_s": 0.0},
        "roles": roles,
    }
    return Cell.model_validate(PLAIN | changes)


def own(model=None, **engine):
    model = {"max_position_embeddings": 32768, "max_model_len": 32768, **(model or {})}
    return {"model": {**PLAIN["model"], **model}, "engine": {**SIMULATED, **engine}}


def test_equal_engines_are_one_and_one_like_the_cells_own_is_that():
    cell = coding_cell(coder=own(BIG), reviser=own(BIG), reviewer=own(), architect=own(max_num_seqs=1))
    assert cell.engine_of_role == {"coder": "coder+reviser", "reviser": "coder+reviser", "architect": "architect"}
    assert {name: (each.model.name, each.engine.max_num_seqs) for name, each in cell.engine_cells.items()} == {
        "main": ("tiny", 16),
        "coder+reviser": ("big", 16),
        "architect": ("tiny", 1),
    }
    assert all(each.roles == {} for each in cell.engine_cells.values())


def test_roles_need_an_engine_start_of_their_own_and_none_leaves_ids_as_they_were():
    assert "roles" not in coding_cell().canonical()
    cell = coding_cell(coder=own(BIG))
    assert cell.engine_key != coding_cell().engine_key
    assert Cell.model_validate(cell.canonical()) == cell


def test_a_role_on_an_engine_like_the_cells_own_changes_no_number():
    assert run_cell(coding_cell(coder=own())).metrics == run_cell(coding_cell()).metrics


def test_roles_run_on_their_engines_at_the_same_time_and_their_energy_adds_up():
    result = run_cell(coding_cell(coder=own(BIG), reviewer=own(BIG, tensor_parallel_size=2)))
    iterations, power = result.series["iterations"], result.series["power"]
    tokens = iterations.group_by("engine").aggregate([("decode_tokens", "sum")])
    assert dict(zip(*tokens.to_pydict().values(), strict=True)) == {
        "main": (1 + 4) * 4 * 16,  # architect and revisers
        "coder": 4 * 4 * 16,
        "reviewer": 4 * 4 * 16,
    }
    assert pc.unique(power.column("device")).to_pylist() == ["SIM-0", "SIM-1", "SIM-2", "SIM-3"]
    idle_j = result.metrics["idle_gpu_power_w"] * result.metrics["window_s"]
    assert result.metrics["idle_gpu_power_w"] == pytest.approx(4 * 70)
    assert result.metrics["total_gpu_energy_j"] > idle_j
    assert result.provenance["coder.simulator"] == result.provenance["simulator"]


def test_engines_share_the_gpus_of_a_node():
    fits, too_many, refused = (
        coding_cell(coder=own(tensor_parallel_size=2)),
        coding_cell(coder=own(tensor_parallel_size=2), reviewer=own(tensor_parallel_size=2, max_num_seqs=4)),
        coding_cell(coder=own(tensor_parallel_size=3)),
    )
    assert infeasible_cells([fits, too_many, refused]) == {
        too_many.cell_id: "the engines need 1 (main) + 2 (coder) + 2 (reviewer) GPUs on one node; gpu nodes have 4",
        refused.cell_id: "engine of coder: tensor_parallel_size 3 must divide the 4 attention heads of tiny",
    }


def test_iteration_indices_are_shifted():
    def engine(*iterations):
        return {"iterations": pa.table({"start_s": [0.0] * 3}), "scheduled": pa.table({"iteration": list(iterations)})}

    series = merge_series({"main": engine(0, 2), "coder": engine(1), "a+b": engine(0)})
    assert series["scheduled"].to_pydict() == {
        "iteration": [0, 2, 4, 6],
        "engine": ["main", "main", "coder", "a+b"],
    }
    assert series["iterations"].column("engine").to_pylist() == ["main"] * 3 + ["coder"] * 3 + ["a+b"] * 3


def test_a_series_that_one_engine_lacks_is_left_out():
    assert merge_series({"main": {"iterations": pa.table({"start_s": [0.0]})}, "coder": {}}) == {}


class Fake:
    """Part of an engine."""

    def __init__(self, name, trouble=None, closes=True):
        self.name, self._trouble, self._closes = name, trouble, closes
        self.closed = False

    async def start(self):
        return EngineStart(provenance={"version": self.name}, devices=(f"GPU-{self.name}",), pids=(1,))

    async def generate(self, request):
        return self.name

    def trouble(self):
        return self._trouble

    async def close(self):
        self.closed = True
        if not self._closes:
            raise OSError("in use")


def test_a_request_goes_to_the_engine_of_its_role():
    group = EngineGroup({"main": Fake("a"), "coder+tester": Fake("b")}, {"coder": "coder+tester"})
    answers = [asyncio.run(group.generate(SimpleNamespace(role=role))) for role in ("coder", "reviewer")]
    assert answers == ["b", "a"]


def test_a_group_reports_the_facts_of_all_its_engines():
    group = EngineGroup({"main": Fake("a"), "coder": Fake("b", trouble="it is stopped")}, {"coder": "coder"})
    assert asyncio.run(group.start()) == EngineStart(
        provenance={"version": "a", "coder.version": "b"}, devices=("GPU-a", "GPU-b"), pids=(1, 1)
    )
    assert group.trouble() == "engine coder: it is stopped"


def test_an_engine_that_does_not_close_keeps_no_other_open():
    main, coder = Fake("a", closes=False), Fake("b")
    with pytest.raises(OSError, match="in use"):
        asyncio.run(EngineGroup({"main": main, "coder": coder}, {}).close())
    assert coder.closed
