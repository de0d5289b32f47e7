"""Zeus as a contender of `benchmarks.power_accuracy`, run by an interpreter that has the package `zeus`.

It prints one line of JSON for each line on standard input, ``begin`` or ``end``.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from zeus.monitor import PowerMonitor, ZeusMonitor

_WINDOW = "window"


class Zeus:
    """Zeus' two monitors on the first GPU, used as in its documentation."""

    def __init__(self, update_period_s: float) -> None:
        self._energy = ZeusMonitor(gpu_indices=[0], cpu_indices=[])
        self._power = PowerMonitor(gpu_indices=[0], update_period=update_period_s, power_domains=["device_instant"])
        self._edges_s: list[float] = []
        self._wall_s: list[float] = []

    def begin(self) -> dict[str, Any]:
        """Begin a window."""
        self._edges_s, self._wall_s = [], []
        with self._edge():
            self._energy.begin_window(_WINDOW, sync_execution=False)
        return {}

    def end(self) -> dict[str, Any]:
        """End the window and return its energies, and its edges in ``CLOCK_MONOTONIC``."""
        with self._edge():
            window = self._energy.end_window(_WINDOW, sync_execution=False)
        time.sleep(0.3)  # it interpolates with a sample after the window
        integral_j = self._power.get_energy(*self._wall_s)
        return {
            "edges_s": self._edges_s,
            "counter_j": window.gpu_energy[0],
            "integral_j": None if integral_j is None else integral_j[0],
        }

    @contextmanager
    def _edge(self) -> Iterator[None]:
        before_s, before_wall_s = time.monotonic(), time.time()  # noqa: TID251
        yield
        self._edges_s.append((before_s + time.monotonic()) / 2)
        self._wall_s.append((before_wall_s + time.time()) / 2)  # noqa: TID251


def main() -> None:
    """Serve standard input until it ends; the argument is the period of the power samples in seconds."""
    zeus = Zeus(float(sys.argv[1]))
    print(json.dumps({"version": version("zeus")}), flush=True)
    for line in sys.stdin:
        print(json.dumps(getattr(zeus, line.strip())()), flush=True)


if __name__ == "__main__":
    main()
