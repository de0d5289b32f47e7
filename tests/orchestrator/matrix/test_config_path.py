"""``model.config_path``: the figures of a local config.json in place of the preset's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.spec.model import ModelSpec
from orchestrator.spec.settings import Matrix, Settings

Composed = Callable[..., tuple[Matrix, Settings]]
FIGURES: dict[str, Any] = {
    "num_hidden_layers": 12,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "torch_dtype": "float16",
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    folder = tmp_path / "small-1b"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(FIGURES))
    return str(folder / "config.json")


def model(composed: Composed, *arguments: str) -> ModelSpec:
    (cell,) = composed(*arguments)[0].cells
    return cell.model


def test_the_file_takes_the_place_of_the_preset(composed: Composed, path: str) -> None:
    resolved = model(composed, f"model.config_path={path}")
    assert (resolved.name, resolved.num_hidden_layers, resolved.dtype) == ("small-1b", 12, "float16")
    assert (resolved.max_position_embeddings, resolved.max_model_len) == (4096, 4096)


def test_keys_given_hold_against_the_file(composed: Composed, path: str) -> None:
    resolved = model(composed, f"model.config_path={path}", "model.max_model_len=2048", "model.name=mine")
    assert (resolved.name, resolved.max_model_len, resolved.hidden_size) == ("mine", 2048, 1024)


def test_a_mapping_gives_the_keys_inside_it(composed: Composed, path: str) -> None:
    resolved = model(composed, f"model={{config_path:'{path}',max_model_len:3000}}")
    assert (resolved.max_model_len, resolved.hidden_size) == (3000, 1024)


def test_a_swept_key_holds_against_the_file(composed: Composed, path: str) -> None:
    matrix, _ = composed(f"model.config_path={path}", "model.max_model_len=2048,4096", flags=("-m",))
    assert [cell.model.max_model_len for cell in matrix.cells] == [2048, 4096]


def test_a_preset_may_name_its_file(composed: Composed, presets: Path, path: str) -> None:
    (presets / "model" / "mine.yaml").write_text(f"config_path: {path}\nmax_model_len: 3000\n")
    resolved = model(composed, "model=mine")
    assert (resolved.max_model_len, resolved.num_hidden_layers) == (3000, 12)


def test_the_file_and_its_figures_are_the_same_cell(composed: Composed, presets: Path, path: str) -> None:
    written = model(composed, f"model.config_path={path}").model_dump(exclude_none=True)
    (presets / "model" / "written.yaml").write_text(json.dumps(written))
    ids = [composed(choice)[0].cells[0].cell_id for choice in (f"model.config_path={path}", "model=written")]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        ("{", "is not JSON"),
        ("{}", "needs whole numbers above 0 for num_hidden_layers, "),
    ],
)
def test_a_bad_file_is_refused(refused: Callable[..., str], tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    refusal = refused(f"model.config_path={path}")
    assert refusal.startswith(f"model.config_path={path}: ")
    assert message in refusal
