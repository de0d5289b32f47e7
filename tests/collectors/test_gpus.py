"""Which GPUs a machine has, on a stand-in for NVML: never on the driver of the machine that runs the tests."""

import pynvml
import pytest

from collectors.gpus import gpu_names


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two GPUs; the list collects the calls that open and close NVML."""
    calls: list[str] = []
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: calls.append("init"))
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: calls.append("shutdown"))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: f"NVIDIA H200 {handle}")
    return calls


def _raising(code: int) -> object:
    def call(*_arguments: object) -> None:
        raise pynvml.NVMLError(code)

    return call


def test_names_come_in_order(nvml: list[str]) -> None:
    assert gpu_names() == ("NVIDIA H200 0", "NVIDIA H200 1")
    assert nvml == ["init", "shutdown"]


def test_no_driver_is_no_gpu(nvml: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", _raising(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    assert gpu_names() == ()
    assert nvml == []


def test_a_driver_that_fails_later_is_closed(nvml: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", _raising(pynvml.NVML_ERROR_GPU_IS_LOST))
    assert gpu_names() == ()
    assert nvml == ["init", "shutdown"]
