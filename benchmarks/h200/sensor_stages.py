"""The stages of one run: each polls while the load does something. One with too little time left is skipped."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import psutil

from benchmarks.cpu_time import cpu_s
from benchmarks.h200.sensor_load import Load
from benchmarks.h200.sensor_poll import poll
from benchmarks.h200.sensor_queries import Query
from benchmarks.h200.sensor_recording import Array, Recording
from collectors.sampler import Sampler
from collectors.sampler_process import SamplerProcess
from collectors.sources import SourceSpec

_LEAD_S = 0.3
_TAIL_S = 0.4
_MARGIN_S = 0.1
_SAMPLE_EVERY_S = 0.05
"""`collectors.period_s` of the product."""
_MILLI = 1e3


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each stage is. The wave periods are no multiples of 100 ms, so that no sensor keeps step with them."""

    idle_s: float = 4.0
    context_s: float = 4.0
    step_on_s: float = 8.0
    decay_s: float = 6.3
    sampler_s: float = 4.0
    waves: tuple[tuple[float, float], ...] = (
        (2.03, 8.2),
        (0.103, 4.0),
        (0.207, 4.0),
        (0.053, 4.0),
        (0.021, 4.0),
        (0.507, 4.0),
    )
    """Period and length of each."""


@dataclass(slots=True)
class Stages:
    """Runs them, one method each, into a recording."""

    queries: Sequence[Query]
    uuid: str
    load: Load
    recording: Recording
    end_s: float
    plan: Plan = field(default_factory=Plan)

    def steps(self) -> dict[str, Callable[[], None]]:
        """All by name, in their order."""
        return {
            "idle_slow": self._idle_slow,
            "idle": self._idle,
            "context": self._context,
            "step": self._step,
            "sampler_thread": self._sampler_thread,
            "sampler_process": self._sampler_process,
            **{_wave_name(period_s): partial(self._wave, period_s, for_s) for period_s, for_s in self.plan.waves},
        }

    def _idle_slow(self) -> None:
        """As `_idle`, at the product's pace: whether polling faster costs the GPU power."""
        slow = [replace(query, every_s=max(query.every_s, _SAMPLE_EVERY_S)) for query in self.queries]
        self._polled("idle_slow", self.plan.idle_s, slow)

    def _idle(self) -> None:
        """Nothing on the GPU, as far as we know; the load's process loads its libraries meanwhile."""
        self._polled("idle", self.plan.idle_s)
        self.recording.load.update(self.load.ready())

    def _context(self) -> None:
        """The load's context is there, and rests."""
        self.recording.load.update(self.load.open())
        time.sleep(min(1.0, self.plan.context_s))
        self._polled("context", self.plan.context_s)

    def _step(self) -> None:
        """On once and off once."""
        self._loaded("step", self.plan.step_on_s, 0.0, 1, lead_s=1.0, tail_s=self.plan.decay_s)

    def _wave(self, period_s: float, for_s: float) -> None:
        """On and off in turn, each half of the period."""
        turns = max(1, round(for_s / period_s))
        self._loaded(_wave_name(period_s), period_s / 2, period_s / 2, turns)

    def _sampler_thread(self) -> None:
        """The product's sampler in a thread of this process, as in a lane's collector."""
        sampler = Sampler(SourceSpec("nvml", (self.uuid,)).build(), _SAMPLE_EVERY_S)
        self._sampled("sampler_thread", sampler, time.process_time)

    def _sampler_process(self) -> None:
        """The product's sampler in a process of its own, as beside `executor=inline`."""
        sampler = SamplerProcess(SourceSpec("nvml", (self.uuid,)), _SAMPLE_EVERY_S)

        def used_s() -> float:
            assert sampler.pid is not None
            try:
                return cpu_s(sampler.pid)
            except FileNotFoundError:  # a kernel without schedstat, such as gVisor's: hundredths of a second, then
                used = psutil.Process(sampler.pid).cpu_times()
                return used.user + used.system

        self._sampled("sampler_process", sampler, used_s)

    def _loaded(
        self, name: str, on_s: float, off_s: float, turns: int, *, lead_s: float = _LEAD_S, tail_s: float = _TAIL_S
    ) -> None:
        length_s = lead_s + turns * (on_s + off_s) + tail_s
        if self._lacks_time(name, length_s + _MARGIN_S):
            return
        self.load.begin(time.monotonic() + lead_s, on_s, off_s, turns)
        self._polled(name, length_s)
        self.recording.stages[name] |= {"edges_s": self._edges_s(), "on_s": on_s, "off_s": off_s}

    def _polled(self, name: str, length_s: float, queries: Sequence[Query] | None = None) -> None:
        if self._lacks_time(name, length_s):
            return
        start_s = time.monotonic()
        found = poll(queries or self.queries, start_s + length_s)
        self.recording.add(name, found.samples)
        self._kept(name, start_s, {"errors": found.errors} if found.errors else {})

    def _sampled(self, name: str, sampler: Sampler | SamplerProcess, used_s: Callable[[], float]) -> None:
        length_s = self.plan.sampler_s
        if self._lacks_time(name, length_s + 2.0):
            return
        sampler.start()
        try:
            begin_s = time.monotonic() + _LEAD_S
            self.load.begin(begin_s, length_s, 0.0, 1)
            time.sleep(_LEAD_S)
            used_before_s, start_s = used_s(), time.monotonic()
            time.sleep(length_s)
            used, end_s = used_s() - used_before_s, time.monotonic()
            edges_s = self._edges_s()
            taken = sampler.take(begin_s, end_s)["power"]
        finally:
            sampler.stop()
        self.recording.add(name, _in_milli(taken))
        self._kept(name, start_s, {"cpu_s": used, "of_s": end_s - start_s, "edges_s": edges_s})

    def _edges_s(self) -> list[list[float]]:
        return [[each - self.recording.origin_s for each in edge] for edge in self.load.edges_s()]

    def _kept(self, name: str, start_s: float, more: dict[str, Any]) -> None:
        origin_s = self.recording.origin_s
        self.recording.stages[name] = {"start_s": start_s - origin_s, "end_s": time.monotonic() - origin_s, **more}

    def _lacks_time(self, name: str, needs_s: float) -> bool:
        if time.monotonic() + needs_s <= self.end_s:
            return False
        self.recording.stages[name] = {"skipped": "no time was left"}
        return True


def _wave_name(period_s: float) -> str:
    return f"wave_{round(period_s * _MILLI)}ms"


def _in_milli(taken: Mapping[str, Any]) -> dict[str, tuple[Array, Array]]:
    """The sampler's columns under the names of the queries; what it could not read is left out."""
    times_s = np.asarray(taken["t_s"], float)
    found = {}
    for name, column in (("instant_mw", "power_w"), ("average_mw", "average_power_w"), ("energy_mj", "energy_j")):
        values = np.asarray(taken[column], float) * _MILLI
        known = np.isfinite(values)
        found[name] = (times_s[known], values[known])
    return found
