"""Records of iterations as Arrow tables, column by column: a long cell has millions of rows."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.records.series import ITERATIONS, SCHEDULED
from orchestrator.vllm_engine.iteration_record import MEMBER_COLUMNS, IterationRecord

_NS = 1e-9
_Integers = npt.NDArray[np.int64]


def iterations_table(records: Sequence[IterationRecord], origin_s: float) -> pa.Table:
    """A row for each record, its times counted from ``origin_s``."""
    iteration, members = _members(records)
    sampled = _sums(iteration, members["decode_tokens"], len(records))
    first_tokens = _sums(*_first_tokens(iteration, members), len(records))
    columns = {
        "start_s": np.array([record.start_ns for record in records], np.int64) * _NS - origin_s,
        "end_s": np.array([record.end_ns for record in records], np.int64) * _NS - origin_s,
        "n_iterations": np.ones(len(records), np.int64),
        "n_running": np.array([len(record.members) for record in records], np.int64),
        "n_waiting": np.array([record.n_waiting for record in records], np.int64),
        "prefill_tokens": _sums(iteration, members["prefill_tokens"], len(records)),
        "decode_tokens": sampled,
        "continued_tokens": sampled - first_tokens,
        "kv_usage_ratio": np.array([record.kv_usage_ratio for record in records], np.float64),
        "record_cost_s": np.array([record.cost_ns for record in records], np.int64) * _NS,
    }
    unknown = {field.name: pa.nulls(len(records), field.type) for field in ITERATIONS if field.name not in columns}
    return pa.table({name: {**columns, **unknown}[name] for name in ITERATIONS.names}, schema=ITERATIONS)


def scheduled_table(records: Sequence[IterationRecord], names: Mapping[int, str]) -> pa.Table:
    """A row for each request of each record; ``names`` are the ids of requests by their numbers, null where unknown."""
    iteration, members = _members(records)
    numbers, which = np.unique(members.pop("number"), return_inverse=True)
    ids = pa.array([names.get(number) for number in numbers.tolist()], pa.string())
    return pa.table({"iteration": iteration, "request_id": ids.take(pa.array(which)), **members}, schema=SCHEDULED)


def _members(records: Sequence[IterationRecord]) -> tuple[_Integers, dict[str, _Integers]]:
    """The iteration of each member of all records, and the columns of the members."""
    none = np.empty((0, len(MEMBER_COLUMNS)), np.uint32)
    members = np.concatenate([none, *(record.members for record in records)]).astype(np.int64)
    iteration = np.repeat(np.arange(len(records)), [len(record.members) for record in records])
    return iteration, {name: members[:, column] for column, name in enumerate(MEMBER_COLUMNS)}


def _first_tokens(iteration: _Integers, members: Mapping[str, _Integers]) -> tuple[_Integers, _Integers]:
    """Iterations in which requests have their first token, one entry and one token for each request."""
    sampling = members["decode_tokens"] > 0
    _, first = np.unique(members["number"][sampling], return_index=True)
    return iteration[sampling][first], np.ones(len(first), np.int64)


def _sums(iteration: _Integers, tokens: _Integers, n_iterations: int) -> _Integers:
    """Of the tokens in each iteration."""
    sums = np.zeros(n_iterations, np.int64)
    np.add.at(sums, iteration, tokens)
    return sums
