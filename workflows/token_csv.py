"""Comma-separated files of token counts: opening them and reading a count."""

import gzip
from pathlib import Path
from typing import TextIO


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
