"""The load: its process, its waves, and the pace of its matrix products."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.sensor.load import LoadMissing, LoadProcess, wave
from orchestrator.sensor.matmul import Matmul

PRODUCT_S = 0.002


class SlowTorch:
    """A stand-in for torch: products run one after the other, each for `PRODUCT_S`."""

    bfloat16, float16 = "bf16", "fp16"

    def __init__(self, capability: tuple[int, int] = (9, 0)) -> None:
        self.ends_s: list[float] = []
        self.most_in_flight = 0
        self.cuda = SimpleNamespace(
            Event=lambda: Event(self), synchronize=self._synchronize, get_device_capability=lambda: capability
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


def test_the_gpu_never_waits_and_is_idle_at_about_the_end():
    torch = SlowTorch()
    matmul = Matmul(torch)
    facts = matmul.open()
    assert facts["dtype"] == "bfloat16"
    assert facts["product_us"] == pytest.approx(PRODUCT_S * 1e6, rel=0.5)
    torch.ends_s, torch.most_in_flight = [], 0
    begun_s = time.monotonic()
    end_s = matmul.busy(begun_s + 0.1)
    assert end_s >= torch.ends_s[-1]
    assert torch.most_in_flight == 4
    assert len(torch.ends_s) * PRODUCT_S == pytest.approx(0.1, abs=0.03)


def test_an_end_in_the_past_still_gets_one_product():
    torch = SlowTorch()
    matmul = Matmul(torch)
    matmul.open()
    n_before = len(torch.ends_s)
    matmul.busy(time.monotonic())
    assert len(torch.ends_s) == n_before + 1


def test_a_gpu_that_cannot_be_used_is_missing():
    def refuse(*shape: int, device: str) -> Any:
        raise RuntimeError("CUDA out of memory\nmore words")

    torch = SlowTorch()
    torch.randn = refuse  # type: ignore[method-assign]
    with pytest.raises(LoadMissing, match=r"^CUDA does not work: CUDA out of memory$"):
        Matmul(torch).open()


def test_gpus_without_bfloat16_multiply_in_half_precision():
    assert Matmul(SlowTorch(capability=(7, 0))).open()["dtype"] == "float16"


def test_a_load_that_ends_or_hangs_is_missing():
    with (
        LoadProcess("orchestrator.no_such_module", "GPU-0", 20.0) as load,
        pytest.raises(LoadMissing, match="status 1"),
    ):
        load.open()
    with LoadProcess("asyncio", "GPU-0", 0.1) as load, pytest.raises(LoadMissing, match=r"was killed after 0\.1 s"):
        load.open()


def test_every_turn_of_a_wave_starts_at_its_own_deadline():
    class Late:
        def open(self):
            return {}

        def busy(self, until_s):
            return until_s + 0.004

    edges_s = wave(Late(), begin_s=0.0, on_s=0.01, off_s=0.01, turns=3)
    assert [off_s for _, off_s in edges_s] == pytest.approx([0.014, 0.034, 0.054])
