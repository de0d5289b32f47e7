"""Sensors and knobs of the hardware of one engine, and the power around its start, in the process that reads them."""

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from collectors.errors import CollectorError
from collectors.nvml_devices import gpu_facts
from collectors.sources import SourceSpec
from orchestrator.errors import InfrastructureError
from orchestrator.measure.columns import Columns, by_device
from orchestrator.measure.gpu_energy import gpu_energy
from orchestrator.monitor.base import Prepared
from orchestrator.monitor.limits import LimitSetter
from orchestrator.monitor.samples import SampledColumns, sensor_event, series_of, with_shared_events
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import NO_POWER, CollectorsSpec

_MARGIN_S = 0.3
"""Sampled before and after a cell: longer than a sensor's update period, so that edges can be interpolated."""


class CellSampler(Protocol):
    """A sampler, in this process or in one of its own (`collectors.sampler`, `collectors.sampler_process`)."""

    def start(self) -> None:
        """Start sampling.

        Raises:
            CollectorError: No source can be sampled.
        """

    def take(self, start_s: float, end_s: float) -> SampledColumns:
        """Return the samples between two instants of CLOCK_MONOTONIC.

        Raises:
            CollectorError: The sampler was lost.
        """

    def latest(self, device: str) -> Mapping[str, Any] | None:
        """Return the newest row of a device."""

    @property
    def running(self) -> bool:
        """Whether it still samples. A sampler that has ended is replaced for the next cell."""

    def stop(self) -> None:
        """Stop sampling."""


OpenSampler = Callable[[Sequence[SourceSpec], float], CellSampler]
"""Open a sampler of some sources with a period (s).

Raises:
    CollectorError: A source is missing.
"""


class Instruments:
    """The sensors of some GPUs and of this machine's CPUs, and the knobs of the GPUs.

    Methods block, so asyncio calls them in threads.
    """

    def __init__(
        self, devices: Sequence[str], *, open_sampler: OpenSampler, own_pids: Callable[[], Collection[int]]
    ) -> None:
        """``devices`` are UUIDs; ``own_pids`` returns the process ids of the engine."""
        self.devices = tuple(devices)
        self._open_sampler = open_sampler
        self._own_pids = own_pids
        self._sampler: CellSampler | None = None
        self._spec: CollectorsSpec | None = None
        self._setter = LimitSetter(self.devices)
        self._facts: dict[str, dict[str, Any]] = {}
        self._first_c: dict[str, float] = {}
        self._setting = threading.Lock()
        self._is_closed = False

    @property
    def gpus(self) -> tuple[str, ...]:
        """UUIDs of the physical GPUs, which have the sensors; empty before `open`."""
        return tuple(self._facts)

    def open(self, cell: Cell) -> None:
        """Lock the GPUs against other controllers, and start sampling.

        Raises:
            CellError: The GPUs refuse a setting of the cell.
            LimitsRefused: This process may not set these GPUs, or another process sets them.
            InfrastructureError: They cannot be read or set.
        """
        with self._setting:
            if self.devices:
                self._setter.take(cell)
                self._facts = _facts(self.devices)
            self._sample(cell.collectors)

    def prepare(self, cell: Cell) -> Prepared:
        """Implement `Monitor.prepare`.

        After `close` it raises, so that a cell that nobody waits for sets nothing that would not be restored.
        """
        with self._setting:
            if self._is_closed:
                raise InfrastructureError("the GPUs have been given back")
            self._sample(cell.collectors)
            return Prepared(
                control=self._setter.apply(cell),
                provenance={"gpus": _merged(self._facts)} if self._facts else {},
                first_temperature_c=self._first_temperatures(),
                reasons=self._setter.reasons,
            )

    def latest(self) -> dict[str, dict[str, float]]:
        """Implement `Monitor.latest`."""
        sampler = self._sampler
        if sampler is None:
            return {}
        try:
            rows = {device: sampler.latest(device) for device in self.gpus}
        except CollectorError:  # `series` reports it as an event
            return {}
        return {device: dict(row) for device, row in rows.items() if row is not None}

    def series(self, origin_s: float, end_s: float) -> dict[str, pa.Table]:
        """Implement `Monitor.series`. A lost sampler gives an event, because the other series of the cell are whole."""
        sampler = self._sampler
        if sampler is None:
            return {}
        time.sleep(max(0.0, end_s + _MARGIN_S - time.monotonic()))
        try:
            sampled = sampler.take(origin_s - _MARGIN_S, end_s + _MARGIN_S)
        except CollectorError as error:
            return {"sensor_events": sensor_event("lost", str(error))}
        return with_shared_events(series_of(sampled, origin_s, self._own_pids()), self._shared_gpus())

    def close(self) -> None:
        """Stop sampling and restore the GPUs; a second call does nothing.

        Raises:
            InfrastructureError: A GPU cannot be restored.
        """
        with self._setting:
            self._is_closed = True
            try:
                self._setter.close()
            finally:
                self._stop()

    def _shared_gpus(self) -> tuple[str, ...]:
        """Return the GPUs whose sensors also measure MIG instances of others."""
        reads_nvml = self._spec is not None and self._spec.power == "nvml"
        return tuple(uuid for uuid, facts in self._facts.items() if reads_nvml and facts["mig_shared"])

    def _first_temperatures(self) -> dict[str, float]:
        for device, row in self.latest().items():
            at_c = row.get("temperature_c")
            if at_c is not None and math.isfinite(at_c):
                self._first_c.setdefault(device, at_c)
        return dict(self._first_c)

    def _sample(self, spec: CollectorsSpec) -> None:
        """Sample as the spec says; keep the present sampler if it does so already."""
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
    sources = []
    if spec.samples_gpus:
        sources.append(SourceSpec(spec.power, devices, None if spec.path is None else Path(spec.path)))
    if spec.cpu_power != NO_POWER:
        sources.append(SourceSpec(spec.cpu_power))
    return sources


def _merged(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return one value per fact if it is equal on all GPUs, else a list in the order of their UUIDs."""
    uuids = sorted(facts)
    merged: dict[str, Any] = {"uuid": uuids}
    for name in facts[uuids[0]]:
        values = [facts[uuid][name] for uuid in uuids]
        merged[name] = values[0] if all(value == values[0] for value in values) else values
    return merged


def _facts(devices: Sequence[str]) -> dict[str, dict[str, Any]]:
    try:
        return gpu_facts(devices)
    except CollectorError as error:
        raise InfrastructureError(f"the facts of the GPUs cannot be read: {error}") from error


@dataclass(slots=True)
class LanePower:
    """Power and energy around one engine start, summed over its GPUs; None if not measured."""

    instruments: Instruments
    _begun_s: float = field(default_factory=time.monotonic)

    def bare_idle_w(self, length_s: float) -> float | None:
        """Return the mean power of the next ``length_s`` without an engine (W). The start counts from the return."""
        power_w = self._mean_w(length_s)
        self._begun_s = time.monotonic()
        return power_w

    def started(self, idle_s: float) -> tuple[float | None, float | None]:
        """Return the energy since `bare_idle_w` (J), and the mean power of the next ``idle_s`` with an engine (W)."""
        start_j = self._energy_j(self._begun_s, time.monotonic())
        return start_j, self._mean_w(idle_s)

    def _mean_w(self, length_s: float) -> float | None:
        if length_s <= 0:
            return None
        begun_s = time.monotonic()
        energy_j = self._energy_j(begun_s, begun_s + length_s)
        return None if energy_j is None else energy_j / length_s

    def _energy_j(self, begun_s: float, end_s: float) -> float | None:
        """Wait for the end of the span; return its energy by the counter, or by the integral without a counter."""
        power = self.instruments.series(begun_s, end_s).get("power")
        if power is None:
            return None
        energies_j = [
            gpu_energy(each, computed=False).energy_j((0.0, end_s - begun_s)) for each in by_device(Columns(power))
        ]
        is_whole = not any(map(math.isnan, energies_j)) and len(energies_j) >= len(self.instruments.gpus)
        return sum(energies_j) if is_whole else None
