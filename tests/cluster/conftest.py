"""One cluster of two nodes for all tests here."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parent.parent / "orchestrator"))

from two_nodes import Cluster, two_nodes


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes, ended with the tests; Ray must have left nothing in the home folder."""
    home = tmp_path_factory.mktemp("home")
    with two_nodes(home) as cluster:
        yield cluster
    assert not (home / ".ray").exists()
