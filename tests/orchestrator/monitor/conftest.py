"""Fake GPUs that this process sees."""

from pathlib import Path

import pytest

from tests.fake_nvml.fake_gpus import FakeGpus
from tests.fake_nvml.gpu_models import SENSED_H100


@pytest.fixture
def machine(make_fake_gpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpus:
    """Two H100 with the sensors that these have; journals go to a folder of the test."""
    machine = make_fake_gpus([SENSED_H100] * 2)
    machine.load(monkeypatch)
    monkeypatch.setenv("JOULEGRID_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return machine
