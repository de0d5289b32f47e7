"""Sweeps on disk, and matrices composed from command-line arguments on presets that never change."""

import json
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_presets import CHOICES, Ended, stand_in, write_plugins, write_presets
from sample_sweeps import a_matrix, settings

from orchestrator import cli
from orchestrator.errors import UserError
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.spec.settings import Matrix, Settings
from orchestrator.store.sweep import SweepStore

Composed = tuple[Matrix, Settings]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def store(runs_dir: Path) -> SweepStore:
    """A new sweep of two cells, nothing run yet."""
    return SweepStore.create(runs_dir, a_matrix(), settings(), {"host": "node-1", "versions": {"ray": "2.60.0"}})


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of presets for ``--config-dir``; the working directory is empty and somewhere else."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.syspath_prepend(write_plugins(tmp_path))
    return write_presets(tmp_path)


@pytest.fixture
def composed(presets: Path) -> Callable[..., Composed]:
    """Arguments to a matrix and its settings; a choice of the presets gives way to an argument of its key."""

    def run(*arguments: str, flags: tuple[str, ...] = ()) -> Composed:
        given = {argument.partition("=")[0] for argument in arguments}
        chosen = [choice for choice in CHOICES if choice.partition("=")[0] not in given]
        expansion = compose([*flags, "--config-dir", str(presets), *chosen, *arguments])
        assert expansion is not None
        return build(expansion)

    return run


@pytest.fixture
def refused(composed: Callable[..., Composed]) -> Callable[..., str]:
    """Arguments to the message they are refused with; nothing may have been written."""

    def run(*arguments: str, flags: tuple[str, ...] = ()) -> str:
        with pytest.raises(UserError) as caught:
            composed(*arguments, flags=flags)
        assert list(Path().iterdir()) == []
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return run


@pytest.fixture
def ended(presets: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Arguments to the exit code, the JSON of the last line on stdout, and stderr; nothing may have been written."""

    def run(*arguments: str) -> Ended:
        code = cli.main(arguments)
        out, err = capsys.readouterr()
        assert list(Path().iterdir()) == []
        return code, json.loads(out.splitlines()[-1]), err

    return run


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Matrix, Settings]]:
    """What a stand-in for the `run` command was given."""
    calls: list[tuple[Matrix, Settings]] = []
    command = types.ModuleType("orchestrator.commands.run")

    def run(matrix: Matrix, settings: Settings) -> cli.CommandResult:
        calls.append((matrix, settings))
        return cli.CommandResult(1, {})

    command.run = run  # type: ignore[attr-defined]
    stand_in(monkeypatch, command)
    return calls
