"""The binary record of one iteration of vLLM's scheduler: written by the engine core, read by the engine's process.

A record begins with its length, so that a reader detects an incomplete one at the end of the file. A request is named
in the first record that schedules it; all records refer to it by a number.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_HEADER = struct.Struct("<IQQQIdIII")
_MEMBER_TYPE = "<u4"
_NAME = struct.Struct("<IH")
_NUMBER = struct.Struct("<I")

MEMBER_COLUMNS = ("number", "prefill_tokens", "decode_tokens", "context_tokens")
"""Of a request in an iteration: its number, prompt (or recomputed) tokens, sampled tokens, tokens computed before."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IterationRecord:
    """One iteration. Units: ns, CLOCK_MONOTONIC; ``cost_ns`` is the time that recording took.

    ``members`` has one row per request with the `MEMBER_COLUMNS`. ``named`` are the requests scheduled for the first
    time (number, vLLM's id). ``preempted`` are the numbers of requests that return after a preemption, once for each.
    """

    start_ns: int
    end_ns: int
    cost_ns: int
    n_waiting: int
    kv_usage_ratio: float
    members: npt.NDArray[np.uint32]
    named: tuple[tuple[int, str], ...]
    preempted: tuple[int, ...]


def encode(
    *,
    times_ns: tuple[int, int, int],
    n_waiting: int,
    kv_usage_ratio: float,
    members: Sequence[int],
    named: Sequence[tuple[int, str]],
    preempted: Sequence[int],
) -> bytes:
    """Return a record as bytes; ``times_ns`` are start, end and cost, ``members`` a flat list of `MEMBER_COLUMNS`."""
    n_members = len(members) // len(MEMBER_COLUMNS)
    parts = [struct.pack(f"<{len(members)}I", *members)]
    for number, name in named:
        text = name.encode()
        parts += (_NAME.pack(number, len(text)), text)
    parts.append(struct.pack(f"<{len(preempted)}I", *preempted))
    n_bytes = _HEADER.size + sum(len(part) for part in parts)
    header = _HEADER.pack(n_bytes, *times_ns, n_waiting, kv_usage_ratio, n_members, len(named), len(preempted))
    return header + b"".join(parts)


def decode(data: bytes) -> Iterator[tuple[int, IterationRecord]]:
    """Yield the complete records of ``data``, each with the offset of its end."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        n_bytes = _HEADER.unpack_from(data, offset)[0]
        if offset + n_bytes > len(data):
            return
        yield offset + n_bytes, _decode_record(data, offset)
        offset += n_bytes


def _decode_record(data: bytes, offset: int) -> IterationRecord:
    _, start_ns, end_ns, cost_ns, n_waiting, usage, n_members, n_named, n_preempted = _HEADER.unpack_from(data, offset)
    offset += _HEADER.size
    n_numbers = n_members * len(MEMBER_COLUMNS)
    members = np.frombuffer(data, _MEMBER_TYPE, n_numbers, offset).reshape(-1, len(MEMBER_COLUMNS))
    offset, named = _decode_names(data, offset + members.nbytes, n_named)
    return IterationRecord(
        start_ns=start_ns,
        end_ns=end_ns,
        cost_ns=cost_ns,
        n_waiting=n_waiting,
        kv_usage_ratio=usage,
        members=members,
        named=named,
        preempted=tuple(_NUMBER.unpack_from(data, offset + 4 * index)[0] for index in range(n_preempted)),
    )


def _decode_names(data: bytes, offset: int, count: int) -> tuple[int, tuple[tuple[int, str], ...]]:
    """Return the offset after the names, and the pairs of number and name."""
    names = []
    for _ in range(count):
        number, length = _NAME.unpack_from(data, offset)
        offset += _NAME.size
        names.append((number, data[offset : offset + length].decode()))
        offset += length
    return offset, tuple(names)
