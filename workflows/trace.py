"""Reading request traces: comma-separated rows in the columns of AzurePublicDataset.

Columns: ``TIMESTAMP`` (ISO 8601) or ``arrival_s``, ``ContextTokens``, ``GeneratedTokens``; others are ignored. Rows
ascend in time. A count of 0 is read as 1: an engine has no empty prompt and generates at least one token.
"""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from workflows.shipped import read_bytes
from workflows.token_csv import open_csv, token_count

SHIPPED = ("azure_2023_conv", "azure_2023_code")
_COUNTS = ("ContextTokens", "GeneratedTokens")


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a trace; ``arrival_s`` counts from the first row of the file."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int


def read_trace(trace: str, *, start_s: float, duration_s: float | None) -> tuple[Row, ...]:
    """The rows that arrive in [start_s, start_s + duration_s) of a shipped trace or of a CSV file (``.gz`` allowed).

    Raises:
        ValueError: the file cannot be read, is malformed, is not ascending, or has no row in the slice.
    """
    end_s = math.inf if duration_s is None else start_s + duration_s
    rows = []
    try:
        with _opened(trace) as file:
            for row in _rows(file, trace):
                if row.arrival_s >= end_s:
                    break
                if row.arrival_s >= start_s:
                    rows.append(row)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        allowed = f"allowed: {', '.join(SHIPPED)}, or the path of a CSV file"
        raise ValueError(f"trace {trace!r} cannot be read ({error}); {allowed}") from error
    if not rows:
        raise ValueError(f"trace {trace!r} has no row from {start_s:g} s to {end_s:g} s after its first")
    return tuple(rows)


def _opened(trace: str) -> TextIO:
    if trace in SHIPPED:
        content = gzip.decompress(read_bytes(f"{trace}.csv.gz"))
        return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")
    return open_csv(trace)


def _rows(file: TextIO, trace: str) -> Iterator[Row]:
    reader = csv.reader(file)
    header = next(reader, [])
    time_of, time_column = _time(header, trace)
    columns = [header.index(name) for name in _COUNTS]
    first_s = last_s = None
    for fields in reader:
        if not fields:
            continue
        where = f"trace {trace!r} line {reader.line_num}"
        if len(fields) != len(header):
            raise ValueError(f"{where}: {len(fields)} columns, the header has {len(header)}")
        time_s = time_of(fields[time_column], where)
        if first_s is None or last_s is None:
            first_s = last_s = time_s
        if time_s < last_s:
            raise ValueError(f"{where}: arrives {last_s - time_s:g} s before the row above; rows must ascend in time")
        last_s = time_s
        prompt, output = (token_count(fields[column], header[column], where) for column in columns)
        yield Row(time_s - first_s, prompt, output)


def _time(header: list[str], trace: str) -> tuple[Callable[[str, str], float], int]:
    """How to read the time of a row, and from which column."""
    times = {"arrival_s": _seconds, "TIMESTAMP": _timestamp}
    found = [name for name in times if name in header]
    if not found or not set(_COUNTS) <= set(header):
        raise ValueError(f"trace {trace!r} line 1: needs columns TIMESTAMP or arrival_s, {', '.join(_COUNTS)}")
    return times[found[0]], header.index(found[0])


def _seconds(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: arrival_s must be a number of seconds, got {text!r}")
    return value


def _timestamp(text: str, where: str) -> float:
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{where}: TIMESTAMP must be ISO 8601, got {text!r}") from error
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
