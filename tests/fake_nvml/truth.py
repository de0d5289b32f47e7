"""The true energies of a cell, written for tests beside the state of the fake GPUs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tests.fake_nvml.fake_gpus import FakeGpus

_COLUMNS = ("start_s", "end_s", "energy_j", "prefill_energy_j", "decode_energy_j", "sm_clock_mhz", "power_capped")


@dataclass(frozen=True, slots=True)
class RequestEnergy:
    """Energy of a request on all GPUs, as the engine's cost model divides it (`orchestrator.engines.simulated.log`)."""

    prefill_j: float
    decode_j: float


@dataclass(frozen=True, slots=True)
class Truth:
    """True values of one cell: its GPUs, and the energy of each request and iteration.

    `iterations` has the columns of that series that the engine does not report, with times from `origin_s`
    (CLOCK_MONOTONIC) on.
    """

    uuids: tuple[str, ...]
    origin_s: float
    requests: Mapping[str, RequestEnergy]
    iterations: Mapping[str, npt.NDArray[Any]]

    @classmethod
    def of_iterations(
        cls, uuids: tuple[str, ...], origin_s: float, iterations: pa.Table, requests: Mapping[str, RequestEnergy]
    ) -> Self:
        columns = {name: iterations.column(name).to_numpy() for name in _COLUMNS}
        return cls(uuids, origin_s, dict(requests), columns)

    @classmethod
    def of_cell(cls, machine: FakeGpus, cell_id: str) -> Self:
        plain = json.loads(_path(machine, cell_id).read_text())
        requests = {name: RequestEnergy(**each) for name, each in plain["requests"].items()}
        columns = {name: np.array(column) for name, column in plain["iterations"].items()}
        return cls(tuple(plain["uuids"]), plain["origin_s"], requests, columns)

    def write(self, machine: FakeGpus, cell_id: str) -> None:
        """Write it, in place of that of an earlier attempt at the cell."""
        plain = {
            "uuids": self.uuids,
            "origin_s": self.origin_s,
            "requests": {name: asdict(each) for name, each in self.requests.items()},
            "iterations": {name: column.tolist() for name, column in self.iterations.items()},
        }
        path = _path(machine, cell_id)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(plain))

    def energy_j(self, machine: FakeGpus, start_s: float, end_s: float) -> float:
        """Return the true energy of its GPUs between two times of the cell, rest included."""
        edges_ns = [round((self.origin_s + t_s) * 1e9) for t_s in (start_s, end_s)]
        gpus = [machine.by_uuid(each) for each in self.uuids]
        return sum(gpu.energy_j(edges_ns[1]) - gpu.energy_j(edges_ns[0]) for gpu in gpus)


def _path(machine: FakeGpus, cell_id: str) -> Path:
    return machine.state_path.with_name("truth") / f"{cell_id}.json"
