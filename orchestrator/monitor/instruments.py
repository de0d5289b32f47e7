"""Sensors and knobs of the hardware one engine is on, in the process that reads and turns them."""

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from collectors.errors import CollectorError
from collectors.nvml_devices import gpu_facts
from collectors.sources import SourceSpec
from orchestrator.errors import InfrastructureError
from orchestrator.monitor.base import Prepared
from orchestrator.monitor.limits import LimitSetter
from orchestrator.monitor.samples import Taken, event, series_of, with_shared
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import COMPUTED_POWER, NO_POWER, CollectorsSpec

_MARGIN_S = 0.3
"""Sampled before and after a cell: more than a sensor takes to renew its reading, so that edges can be interpolated."""


class Sampling(Protocol):
    """A sampler, in this process or in one of its own (`collectors.sampler`, `collectors.sampler_process`)."""

    def start(self) -> None:
        """Sample from now on.

        Raises:
            CollectorError: there is nothing that could be sampled.
        """

    def take(self, start_s: float, end_s: float) -> Taken:
        """What was sampled between two instants of CLOCK_MONOTONIC.

        Raises:
            CollectorError: the sampler was lost.
        """

    def latest(self, device: str) -> Mapping[str, Any] | None:
        """The newest row of a device."""

    @property
    def running(self) -> bool:
        """Whether it samples: one that has ended is replaced for the next cell."""

    def stop(self) -> None:
        """Sample no more."""


OpenSampler = Callable[[Sequence[SourceSpec], float], Sampling]
"""Makes a sampler of sources and a period.

Raises:
    CollectorError: a source is not there.
"""


class Instruments:
    """Those of some GPUs and of this machine's CPUs. Blocks, so asyncio calls it in threads."""

    def __init__(
        self, devices: Sequence[str], *, open_sampler: OpenSampler, own_pids: Callable[[], Collection[int]]
    ) -> None:
        """``devices`` are UUIDs; ``own_pids`` tells the processes of the engine."""
        self.devices = tuple(devices)
        self._open_sampler = open_sampler
        self._own_pids = own_pids
        self._sampler: Sampling | None = None
        self._spec: CollectorsSpec | None = None
        self._setter = LimitSetter(self.devices)
        self._facts: dict[str, dict[str, Any]] = {}
        self._first_c: dict[str, float] = {}
        self._setting = threading.Lock()
        self._is_closed = False

    @property
    def gpus(self) -> tuple[str, ...]:
        """UUIDs of the whole GPUs, which have the sensors; known once they are open."""
        return tuple(self._facts)

    def open(self, cell: Cell) -> None:
        """Sample from now on as a cell wants it, and be the only one who sets these GPUs.

        Raises:
            CellError: the GPUs refuse what the cell asks for.
            LimitsRefused: nobody may set these GPUs, or another does.
            InfrastructureError: they cannot be read or set.
        """
        with self._setting:
            if self.devices:
                self._setter.take(cell)
                self._facts = _facts(self.devices)
            self._sample(cell.collectors)

    def prepare(self, cell: Cell) -> Prepared:
        """`Meter.prepare`; refused once closed, lest a cell that nobody waits for sets what nobody would restore."""
        with self._setting:
            if self._is_closed:
                raise InfrastructureError("the GPUs have been given back")
            self._sample(cell.collectors)
            provenance = {"gpus": _merged(self._facts)} if self._facts else {}
            return Prepared(
                control=self._setter.apply(cell),
                provenance=provenance,
                first_temperature_c=self._first_temperatures(),
                reasons=self._setter.reasons,
            )

    def latest(self) -> dict[str, dict[str, float]]:
        """`Meter.latest`."""
        sampler = self._sampler
        if sampler is None:
            return {}
        try:
            rows = {device: sampler.latest(device) for device in self.gpus}
        except CollectorError:  # told as an event with the series
            return {}
        return {device: dict(row) for device, row in rows.items() if row is not None}

    def series(self, origin_s: float, end_s: float) -> dict[str, pa.Table]:
        """`Meter.series`. A sampler that is lost is told as an event: what else was recorded of the cell stands."""
        sampler = self._sampler
        if sampler is None:
            return {}
        time.sleep(max(0.0, end_s + _MARGIN_S - time.monotonic()))
        try:
            taken = sampler.take(origin_s - _MARGIN_S, end_s + _MARGIN_S)
        except CollectorError as error:
            return {"sensor_events": event("lost", str(error))}
        return with_shared(series_of(taken, origin_s, self._own_pids()), self._shared())

    def close(self) -> None:
        """Sample no more, and give the GPUs back as they were found; a second time does nothing.

        Raises:
            InfrastructureError: one of them is not as it was found.
        """
        with self._setting:
            self._is_closed = True
            try:
                self._setter.close()
            finally:
                self._stop()

    def _shared(self) -> tuple[str, ...]:
        """GPUs whose sensors tell of more than the cell's part of them."""
        asks_driver = self._spec is not None and self._spec.power == "nvml"
        return tuple(uuid for uuid, facts in self._facts.items() if asks_driver and facts["mig_shared"])

    def _first_temperatures(self) -> dict[str, float]:
        for device, row in self.latest().items():
            at_c = row.get("temperature_c")
            if at_c is not None and math.isfinite(at_c):
                self._first_c.setdefault(device, at_c)
        return dict(self._first_c)

    def _sample(self, spec: CollectorsSpec) -> None:
        if spec == self._spec and (self._sampler is None or self._sampler.running):
            return
        self._stop()
        sources = _sources(spec, self.devices)
        if sources:
            try:
                sampler = self._open_sampler(sources, spec.period_s)
                sampler.start()
            except CollectorError as error:
                raise InfrastructureError(f"nothing can be sampled: {error}") from error
            self._sampler = sampler
        self._spec = spec

    def _stop(self) -> None:
        sampler, self._sampler, self._spec = self._sampler, None, None
        if sampler is None:
            return
        try:
            sampler.stop()
        except CollectorError as error:
            raise InfrastructureError(str(error)) from error


def _sources(spec: CollectorsSpec, devices: Sequence[str]) -> list[SourceSpec]:
    if not spec.samples:
        return []
    found = []
    if spec.power not in (NO_POWER, COMPUTED_POWER):
        found.append(SourceSpec(spec.power, devices, None if spec.path is None else Path(spec.path)))
    if spec.cpu_power != NO_POWER:
        found.append(SourceSpec(spec.cpu_power))
    return found


def _merged(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One value for what all GPUs have alike, else a list in the order of their UUIDs: comparable with other GPUs'."""
    uuids = sorted(facts)
    found: dict[str, Any] = {"uuid": uuids}
    for name in facts[uuids[0]]:
        values = [facts[uuid][name] for uuid in uuids]
        found[name] = values[0] if all(value == values[0] for value in values) else values
    return found


def _facts(devices: Sequence[str]) -> dict[str, dict[str, Any]]:
    try:
        return gpu_facts(devices)
    except CollectorError as error:
        raise InfrastructureError(f"the GPUs do not say what they are: {error}") from error
