"""Prompt and output lengths that belong together: rows of token counts, to be drawn whole."""

import csv
import gzip
import io
import zlib
from typing import NamedTuple, TextIO

from workflows import trace
from workflows.shipped import read_bytes
from workflows.token_csv import open_csv, token_count

SHIPPED = (*trace.SHIPPED, "arxiv_summarization")
_COLUMNS = ("prompt_tokens", "output_tokens")


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
    if rows in trace.SHIPPED:
        recorded = trace.read_trace(rows, start_s=0.0, duration_s=None)
        return tuple(LengthRow(row.prompt_tokens, row.output_tokens) for row in recorded)
    try:
        with _opened(rows) as file:
            found = _parsed(file, rows)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        allowed = f"allowed: {', '.join(SHIPPED)}, or the path of a CSV file"
        raise ValueError(f"rows {rows!r} cannot be read ({error}); {allowed}") from error
    if not found:
        raise ValueError(f"rows {rows!r} has a header but no row")
    return found


def _opened(rows: str) -> TextIO:
    if rows in SHIPPED:
        content = gzip.decompress(read_bytes(f"{rows}.csv.gz"))
        return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")
    return open_csv(rows)


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
