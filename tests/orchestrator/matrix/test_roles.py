"""Engines of roles, composed in Hydra's own syntax and completed from the cell's own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.spec.settings import Matrix, Settings

Composed = Callable[..., tuple[Matrix, Settings]]
Refused = Callable[..., str]
TWO_ROLES = ("workflow=map_reduce_summary", "engine=simulated")


def engines(composed: Composed, *arguments: str) -> dict[str, tuple[str, int]]:
    (cell,) = composed(*TWO_ROLES, *arguments)[0].cells
    return {name: (own.model.name, own.engine.max_num_seqs) for name, own in cell.engine_cells.items()}


@pytest.mark.parametrize(
    ("arguments", "reducer"),
    [
        (("+model@roles.reducer.model=qwen3_8b", "+engine@roles.reducer.engine=simulated"), ("Qwen/Qwen3-8B", 256)),
        (("+model@roles.reducer.model=qwen3_8b",), ("Qwen/Qwen3-8B", 8)),
        (("+roles.reducer.engine.max_num_seqs=2",), ("bench-8b", 2)),
        (("+roles.reducer.model.max_model_len=4096",), ("bench-8b", 8)),
        (("+model@roles.reducer.model=qwen3_8b", "+roles.reducer.engine.max_num_seqs=2"), ("Qwen/Qwen3-8B", 2)),
    ],
)
def test_what_a_role_leaves_out_is_as_in_the_cell(
    composed: Composed, arguments: tuple[str, ...], reducer: tuple[str, int]
) -> None:
    actual = engines(composed, "engine.max_num_seqs=8", *arguments)
    assert actual == {"main": ("bench-8b", 8), "reducer": reducer}


def test_the_engine_of_a_role_can_be_swept(composed: Composed) -> None:
    matrix, _ = composed(*TWO_ROLES, "+model@roles.reducer.model=qwen3_8b,bench", flags=("-m",))
    assert [cell.roles["reducer"].model.name for cell in matrix.cells] == ["Qwen/Qwen3-8B", "bench-8b"]
    assert [list(cell.engine_cells) for cell in matrix.cells] == [["main", "reducer"], ["main"]]
    assert matrix.swept == ("roles.reducer.model.name",)


def test_a_sweep_file_gives_roles_their_engines(composed: Composed, presets: Path) -> None:
    (presets / "sweep" / "two_models.yaml").write_text(
        """
# @package _global_
defaults:
  - /model@roles.reducer.model: qwen3_8b
roles: { reducer: { engine: { tensor_parallel_size: 2, max_num_seqs: 8 } } }
hydra: { mode: MULTIRUN, sweeper: { params: { roles.reducer.engine.max_num_seqs: "1,2" } } }
"""
    )
    matrix, _ = composed("+sweep=two_models", *TWO_ROLES)
    roles = [cell.roles["reducer"] for cell in matrix.cells]
    assert [(role.model.name, role.engine.max_num_seqs, role.engine.tensor_parallel_size) for role in roles] == [
        ("Qwen/Qwen3-8B", 1, 2),
        ("Qwen/Qwen3-8B", 2, 2),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("+model@roles.reduser.model=qwen3_8b",),
            "roles.reduser: workflow map_reduce_summary has no such role; it has mapper, reducer",
        ),
        (
            ("+roles.reducer.engine.max_num_seqs=2", "+roles.mapper.engine.max_num_seqs=3"),
            "roles: every role of workflow map_reduce_summary has an engine of its own, so nothing would run on the ",
        ),
        (("+roles.reducer=7",), "roles.reducer: must be a mapping with model, engine or both, got 7"),
        (("+roles=7",), "roles: must be a mapping of roles to engines, got 7"),
        (("+roles.reducer.modell=7",), "roles.reducer.modell: unknown key; did you mean model? allowed: engine, model"),
        (
            ("+roles.reducer.engine.max_num_seq=2",),
            "roles.reducer.engine.max_num_seq: unknown key; did you mean max_num_seqs? allowed: ",
        ),
        (("+roles.reducer.engine.max_num_seqs=0",), "roles.reducer.engine.max_num_seqs: must be at least 1, got 0"),
        (
            ("+roles.reducer.engine.clock=wall",),
            "roles.reducer.engine: clock is wall and that of the cell's own engine virtual; all engines of a cell ",
        ),
        (("+roles.main.engine.max_num_seqs=2",), "roles.main is the name of the cell's own engine: call the role "),
        (
            ("+roles.reducer.model.max_model_len=1000",),
            "workflow map_reduce_summary: its longest request of role reducer has ",
        ),
        (
            ("+roles.reducer.model.config_path=nowhere.json",),
            "roles.reducer.model.config_path=nowhere.json: ",
        ),
    ],
)
def test_refusals(refused: Refused, arguments: tuple[str, ...], message: str) -> None:
    assert refused(*TWO_ROLES, *arguments).startswith(message)
