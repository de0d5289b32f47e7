"""``python -m benchmarks.h200.sensor_matmul``: the load of `sensor_load` as bf16 matrix products on random numbers."""

import json
import os
import time
from collections import deque
from typing import Any

from benchmarks.h200.sensor_load import Missing, serve

_SIZE = 4096
_IN_FLIGHT = 4
_TIMED = 50


def main() -> None:
    """Serve, or say what is missing."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asking whether there is CUDA must not wake the GPU
    try:
        import torch
    except ImportError as error:
        print(json.dumps({"missing": f"no torch: {error}"}), flush=True)
        return
    if not torch.cuda.is_available():
        print(json.dumps({"missing": f"torch {torch.__version__} finds no CUDA device"}), flush=True)
        return
    serve(Matmul(torch), {"torch": torch.__version__, "cuda": torch.version.cuda})


class Matmul:
    """Products one after the other, a few of them queued so that the GPU never waits."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._product_s = 0.0

    def open(self) -> dict[str, Any]:
        """Context, operands, and the time of a product."""
        torch = self._torch
        try:
            torch.manual_seed(0)
            self._a, self._b = (torch.randn(_SIZE, _SIZE, device="cuda").to(torch.bfloat16) for _ in range(2))
            self._out = torch.empty_like(self._a)
            self._events = [torch.cuda.Event() for _ in range(_IN_FLIGHT + 1)]
            self._product_s = self._timed_s()
        except RuntimeError as error:
            raise Missing(f"CUDA does not work: {str(error).splitlines()[0]}") from error
        tflops = 2 * _SIZE**3 / self._product_s / 1e12
        return {
            "size": _SIZE,
            "product_us": self._product_s * 1e6,
            "tflops": tflops,
            "gpu": torch.cuda.get_device_name(),
        }

    def busy(self, until_s: float) -> float:
        """Stops queueing early by what is in flight then."""
        last_s = until_s - _IN_FLIGHT * self._product_s
        flying: deque[Any] = deque()
        n_queued = 0
        while n_queued == 0 or time.monotonic() < last_s:
            event = self._events[n_queued % len(self._events)]
            self._torch.mm(self._a, self._b, out=self._out)
            event.record()
            flying.append(event)
            n_queued += 1
            if len(flying) >= _IN_FLIGHT:
                flying.popleft().synchronize()
        self._torch.cuda.synchronize()
        return time.monotonic()

    def _timed_s(self) -> float:
        for _ in range(3):
            self._torch.mm(self._a, self._b, out=self._out)
        self._torch.cuda.synchronize()
        begun_s = time.monotonic()
        for _ in range(_TIMED):
            self._torch.mm(self._a, self._b, out=self._out)
        self._torch.cuda.synchronize()
        return (time.monotonic() - begun_s) / _TIMED


if __name__ == "__main__":
    main()
