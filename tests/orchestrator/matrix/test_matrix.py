"""What a sweep file, the command line and their mixtures make of a matrix."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.spec.settings import Matrix, Settings

Composed = Callable[..., tuple[Matrix, Settings]]


def caps_by_batch(matrix: Matrix) -> list[tuple[int, float | None]]:
    return [(cell.engine.max_num_seqs, cell.hardware.power_limit_w) for cell in matrix.cells]


def test_without_a_sweep_there_is_one_cell(composed: Composed) -> None:
    matrix, _ = composed("seed=3")
    assert (matrix.name, len(matrix.cells), matrix.swept) == ("single", 1, ())
    assert matrix.cells[0].seed == 3
    assert "seed=3" in matrix.overrides


def test_a_sweep_file_is_the_product_of_its_axes(composed: Composed) -> None:
    matrix, _ = composed("+sweep=batch")
    assert caps_by_batch(matrix) == [(1, 200.0), (1, 400.0), (2, 200.0), (2, 400.0)]
    assert matrix.name == "batch"
    assert matrix.swept == ("engine.max_num_seqs", "hardware.power_limit_w")


def test_the_command_line_replaces_an_axis(composed: Composed) -> None:
    matrix, _ = composed("+sweep=batch", "hardware.power_limit_w=300", "engine.max_num_seqs=4,8,16")
    assert caps_by_batch(matrix) == [(4, 300.0), (8, 300.0), (16, 300.0)]
    assert matrix.swept == ("engine.max_num_seqs",)


def test_run_mode_undoes_a_sweep(composed: Composed) -> None:
    matrix, _ = composed("+sweep=batch", "hydra.mode=RUN")
    assert (matrix.name, len(matrix.cells)) == ("single", 1)


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("seed=1,5", [1, 5]),
        ("seed=range(2,8,3)", [2, 5]),
        ("seed=choice(4,6)", [4, 6]),
        ("seed=7,7,8", [7, 8]),
    ],
)
def test_ad_hoc_sweeps_take_hydras_grammar(composed: Composed, axis: str, values: list[int]) -> None:
    matrix, _ = composed(axis, flags=("-m",))
    assert matrix.name == "adhoc"
    assert [cell.seed for cell in matrix.cells] == values


def test_groups_are_swept_by_list_and_glob(composed: Composed) -> None:
    matrix, _ = composed("hardware=bench,uncapped", "workflow=glob(bench*)", flags=("-m",))
    assert [(cell.hardware.name, cell.load.users) for cell in matrix.cells if cell.load.kind == "closed"] == [
        ("bench-gpu", 16),
        ("bench-gpu", 1),
        ("uncapped-gpu", 16),
        ("uncapped-gpu", 1),
    ]
    assert matrix.swept == ("hardware.name", "workflow.kind")


def test_two_sweep_files_are_united(composed: Composed) -> None:
    matrix, _ = composed("+sweep=batch,seeds", "load.num_workflows=3", flags=("-m",))
    alone = [composed(f"+sweep={name}", "load.num_workflows=3")[0].cells for name in ("batch", "seeds")]
    assert matrix.name == "batch+seeds"
    assert matrix.cells == alone[0] + alone[1]
    assert matrix.swept == ("engine.max_num_seqs", "hardware.power_limit_w", "seed")


def test_a_cell_of_two_sweeps_is_kept_once(composed: Composed) -> None:
    same = ("seed=0", "engine.max_num_seqs=8", "hardware.power_limit_w=50%")
    matrix, _ = composed("+sweep=batch,seeds", *same, flags=("-m",))
    assert len(matrix.cells) == 1


def test_the_fast_way_composes_what_hydra_composes(composed: Composed) -> None:
    swept, _ = composed("+sweep=batch", "load.users=2", "+hardware.calibration.flop_efficiency=0.5,0.25")
    for cell in swept.cells:
        single, _ = composed(
            f"engine.max_num_seqs={cell.engine.max_num_seqs}",
            f"hardware.power_limit_w={cell.hardware.power_limit_w}",
            "load.users=2",
            f"+hardware.calibration.flop_efficiency={cell.hardware.calibration.flop_efficiency}",
        )
        assert single.cells == (cell,)


def test_dotted_values_follow_interpolations(composed: Composed) -> None:
    matrix, _ = composed("seed=1,2", "load.num_workflows=${seed}", flags=("-m",))
    assert [(cell.seed, cell.load.num_workflows) for cell in matrix.cells] == [(1, 1), (2, 2)]


def test_presets_may_read_what_hydra_chose(composed: Composed, presets: Path) -> None:
    (presets / "model" / "named.yaml").write_text("defaults: [bench]\nname: ${hydra:runtime.choices.hardware}\n")
    matrix, _ = composed("model=named", "hardware=bench,uncapped", flags=("-m",))
    assert [cell.model.name for cell in matrix.cells] == ["bench", "uncapped"]


def test_users_default_to_those_of_the_workflow_preset(composed: Composed) -> None:
    assert composed("workflow=bench_solo")[0].cells[0].load.users == 1
    assert composed("workflow=bench")[0].cells[0].load.users == 16
    assert composed("workflow=bench_solo", "load.users=4")[0].cells[0].load.users == 4


def test_settings_come_from_their_groups(composed: Composed) -> None:
    _, settings = composed("+sweep=batch", "tracking=none", "cluster=running", "protocol.order=fewest_starts")
    assert (settings.tracking.enabled, settings.cluster.address) == (False, "auto")
    assert (settings.order, settings.max_attempts, settings.runs_dir) == ("fewest_starts", 3, "runs")


def test_settings_are_no_part_of_a_cell(composed: Composed) -> None:
    plain, changed = composed()[0], composed("runs_dir=elsewhere", "executor=inline", "protocol.max_attempts=9")[0]
    assert plain.cells == changed.cells


def test_infeasible_cells_stay(composed: Composed) -> None:
    matrix, _ = composed("+engine.tensor_parallel_size=1,4", flags=("-m",))
    assert [cell.engine.tensor_parallel_size for cell in matrix.cells] == [1, 4]


def test_nothing_is_written(composed: Composed) -> None:
    composed("+sweep=batch")
    composed()
    assert list(Path().iterdir()) == []


def test_asking_hydra_to_show_something_composes_nothing(presets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from orchestrator.matrix.compose import compose

    assert compose(["--config-dir", str(presets), "model=bench", "hardware=bench", "--cfg", "job"]) is None
    assert "name: bench-8b" in capsys.readouterr().out
