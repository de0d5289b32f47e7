"""The id of a sweep: its name, the second it was created (UTC) and the fraction of that second."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_FORM = re.compile(r"(?P<name>[A-Za-z0-9._+-]+)-(?P<stamp>\d{8}-\d{6}-[0-9a-f]{4})")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_MAX_NAME = 80


@dataclass(frozen=True, slots=True)
class SweepId:
    """A parsed id. ``stamp`` sorts as text in the order of creation."""

    name: str
    stamp: str

    def __str__(self) -> str:
        return f"{self.name}-{self.stamp}"


def safe_name(name: str) -> str:
    """The name as it appears in ids: letters, digits and ``._+-`` only, never hidden, never empty."""
    return _UNSAFE.sub("_", name).lstrip(".-_")[:_MAX_NAME].rstrip(".-_") or "sweep"


def new_sweep_id(name: str, unix_s: float) -> SweepId:
    """The id of a sweep created at ``unix_s``; the last four digits are the fraction of the second in hex."""
    second = datetime.fromtimestamp(int(unix_s), UTC)
    fraction = int((unix_s % 1.0) * 0x10000)
    return SweepId(safe_name(name), f"{second:%Y%m%d-%H%M%S}-{fraction:04x}")


def parse_sweep_id(text: str) -> SweepId | None:
    """The parts of an id; None where the text is none."""
    match = _FORM.fullmatch(text)
    return SweepId(match["name"], match["stamp"]) if match else None
