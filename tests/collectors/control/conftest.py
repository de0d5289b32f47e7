"""Fake GPUs that this process and its children control, with their own folder of journals."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collectors.control.guard_process import end_guard
from tests.fake_nvml.fake_gpus import FakeGpus


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "state"
    monkeypatch.setenv("JOULEGRID_STATE_DIR", str(folder))
    yield folder
    end_guard(folder)


@pytest.fixture
def gpus(fake_gpus: FakeGpus, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    fake_gpus.load(monkeypatch)
    return fake_gpus
