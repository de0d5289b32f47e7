"""The file of iteration records, and its content as the series ``iterations`` and ``scheduled``."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.engines.vllm.iteration_record import MEMBER_COLUMNS, IterationRecord, decode
from orchestrator.records.series import ITERATIONS, SCHEDULED

_NS = 1e-9
_ID_SUFFIX = re.compile(r"-[0-9a-f]{8}$")
"""vLLM appends it to a request id to make the id unique."""

_Integers = npt.NDArray[np.int64]


@dataclass(slots=True)
class Admission:
    """When a request was first scheduled (s, CLOCK_MONOTONIC), and how often it was preempted since."""

    scheduled_s: float
    n_preemptions: int = 0


@dataclass(slots=True)
class IterationFile:
    """A growing file of records: emptied for every cell, read incrementally during the cell and as a whole after it."""

    path: Path
    _offset: int = 0
    _names: dict[int, str] = field(default_factory=dict)
    _admissions: dict[str, Admission] = field(default_factory=dict)

    def clear(self) -> None:
        """Remove all records; the recorder continues at the new end of the file."""
        with self.path.open("wb"):
            pass
        self._offset = 0
        self._names.clear()
        self._admissions.clear()

    def admission(self, request_id: str) -> Admission | None:
        """Return the admission of a request; None if none is recorded."""
        self._read_new_records()
        return self._admissions.get(request_id)

    def _read_new_records(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        end = 0
        for end, record in decode(data):  # noqa: B007
            for number, name in record.named:
                request_id = _request_id(name)
                self._names[number] = request_id
                self._admissions[request_id] = Admission(record.start_ns * _NS)
            for number in record.preempted:
                if number in self._names:  # not a request of an earlier cell
                    self._admissions[self._names[number]].n_preemptions += 1
        self._offset += end

    def series(self, origin_s: float) -> dict[str, pa.Table]:
        """Return the iterations that started at ``origin_s`` or later, and the tokens of each request in them.

        Takes about a second for some hundred thousand iterations, so call it in a thread.
        """
        records = [record for _, record in decode(self.path.read_bytes()) if record.start_ns * _NS >= origin_s]
        names = {number: _request_id(name) for record in records for number, name in record.named}
        return {
            "iterations": iterations_table(records, origin_s),
            "scheduled": scheduled_table(records, names),
        }


def _request_id(name: str) -> str:
    """Return the request id without vLLM's suffix."""
    return _ID_SUFFIX.sub("", name)


def iterations_table(records: Sequence[IterationRecord], origin_s: float) -> pa.Table:
    """Return one row per record, with times relative to ``origin_s``."""
    iteration, members = _member_columns(records)
    sampled = _sum_by_iteration(iteration, members["decode_tokens"], len(records))
    first_tokens = _sum_by_iteration(*_first_tokens(iteration, members), len(records))
    columns = {
        "start_s": np.array([record.start_ns for record in records], np.int64) * _NS - origin_s,
        "end_s": np.array([record.end_ns for record in records], np.int64) * _NS - origin_s,
        "n_iterations": np.ones(len(records), np.int64),
        "n_running": np.array([len(record.members) for record in records], np.int64),
        "n_waiting": np.array([record.n_waiting for record in records], np.int64),
        "prefill_tokens": _sum_by_iteration(iteration, members["prefill_tokens"], len(records)),
        "decode_tokens": sampled,
        "continued_tokens": sampled - first_tokens,
        "kv_usage_ratio": np.array([record.kv_usage_ratio for record in records], np.float64),
        "record_cost_s": np.array([record.cost_ns for record in records], np.int64) * _NS,
    }
    unknown = {field.name: pa.nulls(len(records), field.type) for field in ITERATIONS if field.name not in columns}
    return pa.table({name: {**columns, **unknown}[name] for name in ITERATIONS.names}, schema=ITERATIONS)


def scheduled_table(records: Sequence[IterationRecord], names: Mapping[int, str]) -> pa.Table:
    """Return one row per request of each record; ``names`` maps numbers to request ids, unknown ones become null."""
    iteration, members = _member_columns(records)
    numbers, index = np.unique(members.pop("number"), return_inverse=True)
    ids = pa.array([names.get(number) for number in numbers.tolist()], pa.string())
    return pa.table({"iteration": iteration, "request_id": ids.take(pa.array(index)), **members}, schema=SCHEDULED)


def _member_columns(records: Sequence[IterationRecord]) -> tuple[_Integers, dict[str, _Integers]]:
    """Return the iteration of each member of all records, and the `MEMBER_COLUMNS` of the members."""
    empty = np.empty((0, len(MEMBER_COLUMNS)), np.uint32)
    members = np.concatenate([empty, *(record.members for record in records)]).astype(np.int64)
    iteration = np.repeat(np.arange(len(records)), [len(record.members) for record in records])
    return iteration, {name: members[:, column] for column, name in enumerate(MEMBER_COLUMNS)}


def _first_tokens(iteration: _Integers, members: Mapping[str, _Integers]) -> tuple[_Integers, _Integers]:
    """Return the iteration of each request's first token, and ones: one token per request."""
    sampling = members["decode_tokens"] > 0
    _, first = np.unique(members["number"][sampling], return_index=True)
    return iteration[sampling][first], np.ones(len(first), np.int64)


def _sum_by_iteration(iteration: _Integers, tokens: _Integers, n_iterations: int) -> _Integers:
    sums = np.zeros(n_iterations, np.int64)
    np.add.at(sums, iteration, tokens)
    return sums
