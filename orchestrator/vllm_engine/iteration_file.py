"""The records of the engine core, as the engine's own process reads them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.series import ITERATIONS, SCHEDULED
from orchestrator.vllm_engine.iteration_record import IterationRecord, decode

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
        for end, record in decode(data, with_members=False):  # noqa: B007
            for number, name in record.named:
                request_id = external_id(name)
                self._names[number] = request_id
                self._admissions[request_id] = Admission(record.start_ns * _NS)
            for number in record.preempted:
                if number in self._names:  # else of a request before the file was emptied
                    self._admissions[self._names[number]].n_preemptions += 1
        self._offset += end

    def series(self, origin_s: float) -> dict[str, pa.Table]:
        """Iterations that started at ``origin_s`` or later, and what each request had in them."""
        records = [record for _, record in decode(self.path.read_bytes()) if record.start_ns * _NS >= origin_s]
        names = {number: external_id(name) for record in records for number, name in record.named}
        return {
            "iterations": _iterations(records, origin_s),
            "scheduled": _scheduled(records, names),
        }


def external_id(name: str) -> str:
    """The id we gave a request, of that vLLM knows it by."""
    return _SUFFIX.sub("", name)


def _iterations(records: Sequence[IterationRecord], origin_s: float) -> pa.Table:
    sampled_before: set[int] = set()
    rows = []
    for record in records:
        sampled = sum(member.decode_tokens for member in record.members)
        rows.append(
            {
                "start_s": record.start_ns * _NS - origin_s,
                "end_s": record.end_ns * _NS - origin_s,
                "n_iterations": 1,
                "n_running": len(record.members),
                "n_waiting": record.n_waiting,
                "prefill_tokens": sum(member.prefill_tokens for member in record.members),
                "decode_tokens": sampled,
                "continued_tokens": sampled - _first_tokens(record, sampled_before),
                "kv_usage_ratio": record.kv_usage_ratio,
                "record_cost_s": record.cost_ns * _NS,
            }
        )
    return pa.Table.from_pylist(rows, schema=ITERATIONS)


def _first_tokens(record: IterationRecord, sampled_before: set[int]) -> int:
    """How many requests have their first token in this iteration."""
    first = {member.number for member in record.members if member.decode_tokens} - sampled_before
    sampled_before |= first
    return len(first)


def _scheduled(records: Sequence[IterationRecord], names: dict[int, str]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in SCHEDULED.names}
    for iteration, record in enumerate(records):
        for member in record.members:
            columns["iteration"].append(iteration)
            columns["request_id"].append(names.get(member.number))
            columns["prefill_tokens"].append(member.prefill_tokens)
            columns["decode_tokens"].append(member.decode_tokens)
            columns["context_tokens"].append(member.context_tokens)
    return pa.table(columns, schema=SCHEDULED)
