"""Sweeps on disk for the tests of what reads and writes them."""

from pathlib import Path

import pytest
from sample_sweeps import a_matrix, settings

from orchestrator.store.sweep import SweepStore


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def store(runs_dir: Path) -> SweepStore:
    """A new sweep of two cells, nothing run yet."""
    return SweepStore.create(runs_dir, a_matrix(), settings(), {"host": "node-1", "versions": {"ray": "2.60.0"}})
