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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import NamedTuple, TextIO

SHIPPED_TRACES = ("azure_2023_conv", "azure_2023_code")
SHIPPED_LENGTHS = (*SHIPPED_TRACES, "arxiv_summarization")
_COLUMNS = ("prompt_tokens", "output_tokens")
_COUNTS = ("ContextTokens", "GeneratedTokens")


def open_csv(path: str) -> TextIO:
    """A CSV file of the user, ``.gz`` allowed, as text."""
    if path.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return Path(path).open(encoding="utf-8-sig", newline="")


def token_count(text: str, column: str, where: str) -> int:
    """A count of tokens; 0 is read as 1: an engine has no empty prompt and generates at least one token.

    Raises:
        ValueError: the text is no whole number of at least 0; ``column`` and ``where`` name it in the message.
    """
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{where}: {column} must be a whole number of tokens, at least 0, got {text!r}")
    return max(1, int(text))


class LengthRow(NamedTuple):
    """The lengths of one request. Units: tokens."""

    prompt_tokens: int
    output_tokens: int


def read_lengths(rows: str) -> tuple[LengthRow, ...]:
    """The rows of a shipped data set, or of a CSV file (``.gz`` allowed) with the columns prompt_tokens, output_tokens.

    Other columns are ignored; a count of 0 is read as 1.

    Raises:
        ValueError: the file cannot be read, is malformed, or has no row.
    """
    if rows in SHIPPED_TRACES:
        recorded = read_trace(rows, start_s=0.0, duration_s=None)
        return tuple(LengthRow(row.prompt_tokens, row.output_tokens) for row in recorded)
    try:
        with _open(rows, SHIPPED_LENGTHS) as file:
            found = _parsed(file, rows)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        allowed = f"allowed: {', '.join(SHIPPED_LENGTHS)}, or the path of a CSV file"
        raise ValueError(f"rows {rows!r} cannot be read ({error}); {allowed}") from error
    if not found:
        raise ValueError(f"rows {rows!r} has a header but no row")
    return found


def _open(name: str, shipped: tuple[str, ...]) -> TextIO:
    """A data set that ships, or a CSV file of the user, as text."""
    if name in shipped:
        content = gzip.decompress(read_bytes(f"{name}.csv.gz"))
        return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")
    return open_csv(name)


def _parsed(file: TextIO, rows: str) -> tuple[LengthRow, ...]:
    reader = csv.reader(file)
    header = next(reader, [])
    if not set(_COLUMNS) <= set(header):
        raise ValueError(f"rows {rows!r} line 1: needs columns {', '.join(_COLUMNS)}")
    places = [header.index(name) for name in _COLUMNS]
    found = []
    for fields in reader:
        if not fields:
            continue
        where = f"rows {rows!r} line {reader.line_num}"
        if len(fields) != len(header):
            raise ValueError(f"{where}: {len(fields)} columns, the header has {len(header)}")
        prompt, output = (token_count(fields[place], header[place], where) for place in places)
        found.append(LengthRow(prompt, output))
    return tuple(found)


def read_bytes(name: str) -> bytes:
    """The content of a file of `workflows/data`."""
    return resources.files("workflows").joinpath("data", name).read_bytes()


def read_text(name: str) -> str:
    """The content of a text file of `workflows/data`."""
    return read_bytes(name).decode()


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
        with _open(trace, SHIPPED_TRACES) as file:
            for row in _rows(file, trace):
                if row.arrival_s >= end_s:
                    break
                if row.arrival_s >= start_s:
                    rows.append(row)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        allowed = f"allowed: {', '.join(SHIPPED_TRACES)}, or the path of a CSV file"
        raise ValueError(f"trace {trace!r} cannot be read ({error}); {allowed}") from error
    if not rows:
        raise ValueError(f"trace {trace!r} has no row from {start_s:g} s to {end_s:g} s after its first")
    return tuple(rows)


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
