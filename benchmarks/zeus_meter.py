"""Zeus as a contender of `benchmarks.power_accuracy`: run by an interpreter that has the package `zeus`.

Answers one line of JSON to each line on standard input: `begin`, `end`.
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
    """Its two monitors on the first GPU, as its documentation uses them."""

    def __init__(self, update_period_s: float) -> None:
        self._energy = ZeusMonitor(gpu_indices=[0], cpu_indices=[])
        self._power = PowerMonitor(gpu_indices=[0], update_period=update_period_s, power_domains=["device_instant"])
        self._edges_s: list[float] = []
        self._wall_s: list[float] = []

    def begin(self) -> dict[str, Any]:
        """A window begins."""
        self._edges_s, self._wall_s = [], []
        with self._edge():
            self._energy.begin_window(_WINDOW, sync_execution=False)
        return {}

    def end(self) -> dict[str, Any]:
        """What it says of the window, and when that was on the clock that all share."""
        with self._edge():
            found = self._energy.end_window(_WINDOW, sync_execution=False)
        time.sleep(0.3)  # a sample after the window lets it interpolate
        integral_j = self._power.get_energy(*self._wall_s)
        return {
            "edges_s": self._edges_s,
            "counter_j": found.gpu_energy[0],
            "integral_j": None if integral_j is None else integral_j[0],
        }

    @contextmanager
    def _edge(self) -> Iterator[None]:
        before_s, before_wall_s = time.monotonic(), time.time()  # noqa: TID251
        yield
        self._edges_s.append((before_s + time.monotonic()) / 2)
        self._wall_s.append((before_wall_s + time.time()) / 2)  # noqa: TID251


def main() -> None:
    """Answer until standard input ends. The argument is the period of the power samples in seconds."""
    zeus = Zeus(float(sys.argv[1]))
    print(json.dumps({"version": version("zeus")}), flush=True)
    for line in sys.stdin:
        print(json.dumps(getattr(zeus, line.strip())()), flush=True)


if __name__ == "__main__":
    main()
