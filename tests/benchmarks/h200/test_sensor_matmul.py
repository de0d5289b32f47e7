"""The load's pace, with a GPU that takes its time."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.h200.sensor_load import Missing
from benchmarks.h200.sensor_matmul import Matmul

PRODUCT_S = 0.002


class SlowTorch:
    """Products are done one after the other, each in its time; a stand-in for what of torch is used."""

    bfloat16 = "bf16"

    def __init__(self) -> None:
        self.ends_s: list[float] = []
        self.most_in_flight = 0
        self.cuda = SimpleNamespace(
            Event=lambda: Event(self), synchronize=self._synchronize, get_device_name=lambda: "a GPU"
        )

    def manual_seed(self, seed: int) -> None:
        self.seed = seed

    def randn(self, *shape: int, device: str) -> Any:
        return SimpleNamespace(to=lambda dtype: (shape, dtype))

    def empty_like(self, other: Any) -> Any:
        return other

    def mm(self, a: Any, b: Any, out: Any) -> None:
        now_s = time.monotonic()
        self.ends_s.append(max([now_s, *self.ends_s[-1:]]) + PRODUCT_S)
        self.most_in_flight = max(self.most_in_flight, sum(end_s > now_s for end_s in self.ends_s))

    def _synchronize(self) -> None:
        sleep_until(self.ends_s[-1])


class Event:
    def __init__(self, torch: SlowTorch) -> None:
        self._torch = torch

    def record(self) -> None:
        self._end_s = self._torch.ends_s[-1]

    def synchronize(self) -> None:
        sleep_until(self._end_s)


def sleep_until(when_s: float) -> None:
    time.sleep(max(0.0, when_s - time.monotonic()))


def test_the_gpu_never_waits_and_is_done_at_about_the_time():
    torch = SlowTorch()
    matmul = Matmul(torch)
    told = matmul.open()
    assert told["product_us"] == pytest.approx(PRODUCT_S * 1e6, rel=0.5)
    torch.ends_s, torch.most_in_flight = [], 0
    begun_s = time.monotonic()
    end_s = matmul.busy(begun_s + 0.1)
    assert end_s >= torch.ends_s[-1]
    assert torch.most_in_flight == 4
    assert len(torch.ends_s) * PRODUCT_S == pytest.approx(0.1, abs=0.03)


def test_a_time_that_is_over_still_gets_a_product():
    torch = SlowTorch()
    matmul = Matmul(torch)
    matmul.open()
    n_before = len(torch.ends_s)
    matmul.busy(time.monotonic())
    assert len(torch.ends_s) == n_before + 1


def test_a_gpu_that_cannot_be_had_is_missing():
    def refuse(*shape: int, device: str) -> Any:
        raise RuntimeError("CUDA out of memory\nmore words")

    torch = SlowTorch()
    torch.randn = refuse  # type: ignore[method-assign]
    with pytest.raises(Missing, match=r"^CUDA does not work: CUDA out of memory$"):
        Matmul(torch).open()
