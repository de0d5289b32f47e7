"""The presets and sweeps that ship: each is valid with the others, whoever adds one."""

from collections import Counter
from pathlib import Path

import pytest

import conf
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.matrix.validate import infeasible_cells
from orchestrator.spec.settings import Matrix

CONF = Path(conf.__file__).parent


def matrix_of(*arguments: str) -> Matrix:
    expansion = compose(arguments)
    assert expansion is not None
    return build(expansion)[0]


@pytest.mark.parametrize("path", sorted((CONF / "sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_is_valid_and_feasible(path: Path) -> None:
    matrix = matrix_of(f"+sweep={path.stem}")
    assert matrix.name == path.stem
    assert len(matrix.cells) > 1
    assert infeasible_cells(matrix.cells) == {}


def test_every_workflow_goes_with_a_closed_and_an_open_loop() -> None:
    arguments = ("-m", "workflow=glob(*,exclude=trace_replay)", "load=closed,poisson", "load.num_workflows=2")
    matrix = matrix_of(*arguments)
    workflows = len(list((CONF / "workflow").glob("*.yaml"))) - 1
    assert Counter(cell.load.kind for cell in matrix.cells) == {"closed": workflows, "poisson": workflows}


def test_a_trace_is_replayed() -> None:
    matrix = matrix_of("workflow=trace_replay", "load=replay", "load.num_workflows=3")
    assert [cell.load.kind for cell in matrix.cells] == ["replay"]


def test_batch_powercap_runs_the_published_users() -> None:
    matrix = matrix_of("+sweep=batch_powercap")
    assert len(matrix.cells) == 120
    assert matrix.swept == ("workflow.kind", "engine.max_num_seqs", "hardware.power_limit_w")
    caps = {cell.hardware.power_limit_w for cell in matrix.cells}
    assert len(caps) == 6
    assert {160, 200, 240, 400} < caps  # 40 to 100 % of an A100's 400 W
    users = {(c.workflow.kind, c.load.users) for c in matrix.cells if c.load.kind == "closed"}
    assert users == {("chain_summary", 1), ("multi_agent_coding", 1), ("copilot", 16), ("composite", 16)}


def test_users_given_hold_for_every_workflow() -> None:
    matrix = matrix_of("+sweep=batch_powercap", "load.users=4")
    assert {cell.load.users for cell in matrix.cells if cell.load.kind == "closed"} == {4}


def test_the_question_of_a_sweep_goes_with_its_matrix_and_two_sweeps_ask_both() -> None:
    one = matrix_of("+sweep=concurrency")
    both = matrix_of("-m", "+sweep=concurrency,prefix_caching")
    assert one.question is not None
    assert one.question.endswith("?")
    assert both.question == f"{one.question} {matrix_of('+sweep=prefix_caching').question}"
    assert matrix_of("workflow=chat").question is None
