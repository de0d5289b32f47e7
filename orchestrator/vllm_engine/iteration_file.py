"""The records of the engine core, as the engine's own process reads them."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from orchestrator.vllm_engine.iteration_record import decode
from orchestrator.vllm_engine.iteration_tables import iterations_table, scheduled_table

_NS = 1e-9
_SUFFIX = re.compile(r"-[0-9a-f]{8}$")
"""What vLLM appends to an id to make it unique."""


@dataclass(slots=True)
class Admission:
    """When a request was first scheduled, and how often it lost its place since."""

    scheduled_s: float
    n_preemptions: int = 0


@dataclass(slots=True)
class IterationFile:
    """A file that grows: emptied for every cell, followed while it runs, read as a whole at its end."""

    path: Path
    _offset: int = 0
    _names: dict[int, str] = field(default_factory=dict)
    _admissions: dict[str, Admission] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget all records; whoever writes goes on at the new end."""
        with self.path.open("wb"):
            pass
        self._offset = 0
        self._names.clear()
        self._admissions.clear()

    def admission(self, request_id: str) -> Admission | None:
        """Of a request that has been scheduled; None where that is not recorded."""
        self._follow()
        return self._admissions.get(request_id)

    def _follow(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        end = 0
        for end, record in decode(data):  # noqa: B007
            for number, name in record.named:
                request_id = external_id(name)
                self._names[number] = request_id
                self._admissions[request_id] = Admission(record.start_ns * _NS)
            for number in record.preempted:
                if number in self._names:  # else of a request before the file was emptied
                    self._admissions[self._names[number]].n_preemptions += 1
        self._offset += end

    def series(self, origin_s: float) -> dict[str, pa.Table]:
        """Iterations that started at ``origin_s`` or later, and what each request had in them.

        It takes a second for some hundred thousand of them, and reads nothing but the file: not for a loop.
        """
        records = [record for _, record in decode(self.path.read_bytes()) if record.start_ns * _NS >= origin_s]
        names = {number: external_id(name) for record in records for number, name in record.named}
        return {
            "iterations": iterations_table(records, origin_s),
            "scheduled": scheduled_table(records, names),
        }


def external_id(name: str) -> str:
    """The id we gave a request, of that vLLM knows it by."""
    return _SUFFIX.sub("", name)
