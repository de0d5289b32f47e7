"""``python -m orchestrator.sensor.matmul``: a load of products of random matrices, by torch."""

import os
import time
from collections import deque
from typing import Any

from orchestrator.sensor.load import LoadMissing, send, serve

_SIZE = 4096
_IN_FLIGHT = 4
_TIMED = 50
_WARMUP = 3
_HAS_BFLOAT16 = (8, 0)


class Matmul:
    """Matrix products in a row; a few are queued so that the GPU never waits."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._product_s = 0.0

    def open(self) -> dict[str, Any]:
        """Create the CUDA context and the operands, and time a product."""
        torch = self._torch
        try:
            dtype = "bfloat16" if torch.cuda.get_device_capability() >= _HAS_BFLOAT16 else "float16"
            torch.manual_seed(0)
            self._a, self._b = (torch.randn(_SIZE, _SIZE, device="cuda").to(getattr(torch, dtype)) for _ in range(2))
            self._out = torch.empty_like(self._a)
            self._events = [torch.cuda.Event() for _ in range(_IN_FLIGHT + 1)]
            self._products_s(_WARMUP)
            self._product_s = self._products_s(_TIMED) / _TIMED
        except RuntimeError as error:
            raise LoadMissing(f"CUDA does not work: {str(error).splitlines()[0]}") from error
        tflops = 2 * _SIZE**3 / self._product_s / 1e12
        return {"size": _SIZE, "dtype": dtype, "product_us": self._product_s * 1e6, "tflops": tflops}

    def busy(self, until_s: float) -> float:
        """Keep the GPU busy; stop queueing early, by the time that the queued products take."""
        last_s = until_s - _IN_FLIGHT * self._product_s
        queue: deque[Any] = deque()
        n_queued = 0
        while n_queued == 0 or time.monotonic() < last_s:
            event = self._events[n_queued % len(self._events)]
            self._torch.mm(self._a, self._b, out=self._out)
            event.record()
            queue.append(event)
            n_queued += 1
            if len(queue) >= _IN_FLIGHT:
                queue.popleft().synchronize()
        self._torch.cuda.synchronize()
        return time.monotonic()

    def _products_s(self, n: int) -> float:
        begun_s = time.monotonic()
        for _ in range(n):
            self._torch.mm(self._a, self._b, out=self._out)
        self._torch.cuda.synchronize()
        return time.monotonic() - begun_s


def main() -> None:
    """Serve the load, or print what is missing."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # the check for CUDA must not wake the GPU
    try:
        import torch
    except ImportError as error:
        send({"missing": f"torch cannot be imported ({error})"})
        return
    if not torch.cuda.is_available():
        send({"missing": f"torch {torch.__version__} finds no CUDA device"})
        return
    serve(Matmul(torch), {"torch": torch.__version__, "cuda": torch.version.cuda})


if __name__ == "__main__":
    main()
