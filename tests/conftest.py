"""Fixtures of every test: GPUs that are not there."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.fake_nvml.fake_gpus import H100, FakeGpus, GpuModel, Library


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark exhaustive tests as slow, so that the quick tests never run them, and put those of vLLM last."""
    for item in items:
        if item.get_closest_marker("exhaustive"):
            item.add_marker(pytest.mark.slow)
    # vLLM fixes Ray's authentication mode for the whole process when it is imported: its tests run last
    items.sort(key=lambda item: "engines/vllm" in item.path.as_posix())


@pytest.fixture(scope="session")
def fake_nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    if shutil.which("cc") is None:
        pytest.skip("the fake NVML library needs a C compiler named `cc`")
    return Library.build(tmp_path_factory.mktemp("fake_nvml"))


@pytest.fixture
def make_fake_gpus(fake_nvml_library: Library, tmp_path: Path) -> Callable[[Sequence[GpuModel]], FakeGpus]:
    """Makes the machine's GPUs; again, and earlier handles show GPUs nobody has."""
    return lambda models: FakeGpus.create(tmp_path, models, fake_nvml_library)


@pytest.fixture
def fake_gpus(make_fake_gpus: Callable[[Sequence[GpuModel]], FakeGpus]) -> FakeGpus:
    """Four H100, idle, and processes may set limits and clocks."""
    return make_fake_gpus([H100] * 4)
