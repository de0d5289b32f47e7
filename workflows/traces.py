"""Read recorded requests: shipped data sets and CSV files of token counts.

A trace has the columns of AzurePublicDataset: ``TIMESTAMP`` (ISO 8601) or ``arrival_s``, ``ContextTokens``,
``GeneratedTokens``; rows ascend in time. A file of lengths has ``prompt_tokens`` and ``output_tokens``. Other columns
are ignored. A count of 0 is read as 1: an engine has no empty prompt and generates at least one token.
"""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import NamedTuple, TextIO

SHIPPED_TRACES = ("azure_2023_conv", "azure_2023_code")
SHIPPED_LENGTHS = (*SHIPPED_TRACES, "arxiv_summarization")
_TRACE_COUNTS = ("ContextTokens", "GeneratedTokens")


class LengthRow(NamedTuple):
    """The lengths of one request. Units: tokens."""

    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a trace; ``arrival_s`` counts from the first row of the file."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int


def read_lengths(rows: str) -> tuple[LengthRow, ...]:
    """Return the rows of a shipped data set, or of a CSV file (``.gz`` allowed).

    Raises:
        ValueError: the file cannot be read, is malformed, or has no row.
    """
    if rows in SHIPPED_TRACES:
        recorded = read_trace(rows, start_s=0.0, duration_s=None)
        return tuple(LengthRow(row.prompt_tokens, row.output_tokens) for row in recorded)
    label = f"rows {rows!r}"
    with _opened(rows, label, SHIPPED_LENGTHS) as file:
        fields = _fields(file, label, [(name,) for name in LengthRow._fields])
        lengths = tuple(LengthRow(*(_count(text, name, where) for name, text in row.items())) for where, row in fields)
    if not lengths:
        raise ValueError(f"{label} has a header but no row")
    return lengths


def read_trace(trace: str, *, start_s: float, duration_s: float | None) -> tuple[Row, ...]:
    """Return the rows of a trace that arrive in [start_s, start_s + duration_s); None is without end. Units: s.

    Args:
        trace: name of a shipped trace, or path of a CSV file (``.gz`` allowed).
        start_s: counted from the first row of the file.
        duration_s: length of the slice.

    Raises:
        ValueError: the file cannot be read, is malformed, is not ascending, or has no row in the slice.
    """
    end_s = math.inf if duration_s is None else start_s + duration_s
    label = f"trace {trace!r}"
    rows = []
    with _opened(trace, label, SHIPPED_TRACES) as file:
        for row in _trace_rows(file, label):
            if row.arrival_s >= end_s:
                break
            if row.arrival_s >= start_s:
                rows.append(row)
    if not rows:
        raise ValueError(f"{label} has no row from {start_s:g} s to {end_s:g} s after its first")
    return tuple(rows)


def _trace_rows(file: TextIO, label: str) -> Iterator[Row]:
    first_s = last_s = None
    for where, row in _fields(file, label, [tuple(_TIMES), *((name,) for name in _TRACE_COUNTS)]):
        time_s = next(read(row[name], where) for name, read in _TIMES.items() if name in row)
        if first_s is None or last_s is None:
            first_s = last_s = time_s
        if time_s < last_s:
            raise ValueError(f"{where}: arrives {last_s - time_s:g} s before the row above; rows must ascend in time")
        last_s = time_s
        prompt, output = (_count(row[name], name, where) for name in _TRACE_COUNTS)
        yield Row(time_s - first_s, prompt, output)


@contextmanager
def _opened(name: str, label: str, shipped: tuple[str, ...]) -> Iterator[TextIO]:
    """Open a shipped data set or a user's CSV file as text.

    Raises:
        ValueError: the file cannot be read, also if that shows while it is being read.
    """
    try:
        with _open(name, shipped) as file:
            yield file
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        allowed = f"allowed: {', '.join(shipped)}, or the path of a CSV file"
        raise ValueError(f"{label} cannot be read ({error}); {allowed}") from error


def _open(name: str, shipped: tuple[str, ...]) -> TextIO:
    if name in shipped:
        return io.TextIOWrapper(io.BytesIO(gzip.decompress(_read_bytes(f"{name}.csv.gz"))), encoding="utf-8")
    if name.endswith(".gz"):
        return gzip.open(name, "rt", encoding="utf-8-sig", newline="")
    return Path(name).open(encoding="utf-8-sig", newline="")


def _fields(file: TextIO, label: str, columns: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the place of each row and its fields by column, in the order of ``columns``.

    Each of ``columns`` is a choice of names; the first that the header has is read.

    Raises:
        ValueError: the header lacks a column, or a row has another number of fields.
    """
    reader = csv.reader(file)
    header = next(reader, [])
    names = [next((name for name in choice if name in header), None) for choice in columns]
    if None in names:
        raise ValueError(f"{label} line 1: needs columns {', '.join(' or '.join(choice) for choice in columns)}")
    places = {name: header.index(name) for name in names if name is not None}
    for fields in reader:
        if not fields:
            continue
        where = f"{label} line {reader.line_num}"
        if len(fields) != len(header):
            raise ValueError(f"{where}: {len(fields)} columns, the header has {len(header)}")
        yield where, {name: fields[place] for name, place in places.items()}


def _count(text: str, column: str, where: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{where}: {column} must be a whole number of tokens, at least 0, got {text!r}")
    return max(1, int(text))


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


_TIMES: Mapping[str, Callable[[str, str], float]] = {"arrival_s": _seconds, "TIMESTAMP": _timestamp}
"""Columns of the arrival time in order of preference, and how to read them. Units: s."""


def read_text(name: str) -> str:
    """Return the content of a text file of `workflows/data`."""
    return _read_bytes(name).decode()


def _read_bytes(name: str) -> bytes:
    return resources.files("workflows").joinpath("data", name).read_bytes()
