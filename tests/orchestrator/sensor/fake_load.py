"""``python -m tests.orchestrator.sensor.fake_load``: the load of `orchestrator.sensor.load` on the first fake GPU."""

import time
from typing import Any

from orchestrator.sensor.load import serve
from tests.fake_nvml.fake_gpus import FakeGpus

REST_W, BUSY_W = 120.0, 620.0


class FakeWork:
    """Power between two levels, at the requested instants."""

    def __init__(self) -> None:
        self._gpu = FakeGpus.of_environment()[0]

    def open(self) -> dict[str, Any]:
        self._gpu.set_power(REST_W)
        return {"tflops": 0.0}

    def busy(self, until_s: float) -> float:
        now_ns = time.monotonic_ns()
        end_ns = max(now_ns + 1, round(until_s * 1e9))
        self._gpu.work(now_ns, end_ns, BUSY_W, rest_w=REST_W, sm_clock_mhz=1500)
        time.sleep(max(0.0, until_s - time.monotonic()))
        return end_ns / 1e9


if __name__ == "__main__":
    serve(FakeWork(), {"torch": "none"})
