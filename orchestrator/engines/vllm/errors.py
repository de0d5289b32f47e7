"""Why an engine core ended, from what it and its workers printed: vLLM tells its parent no more than that it did."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator.errors import CellError, InfrastructureError, JoulegridError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


_LIMIT_BYTES = 1 << 20
_PREFIX = re.compile(r"^(\(\w[^)]*\) )?((DEBUG|INFO|WARNING|ERROR|CRITICAL) [\d-]+ [\d:.]+ \[[^\]]*\] ?)?")
_TRACEBACK = "Traceback (most recent call last):"
_RAISED = re.compile(r"^((?:\w+\.)*(\w+))(?:: (.*))?$")
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_NO_CAUSE = (
    "See root cause above",
    "See stack trace for root cause",
    "initialization failed due to an exception in a background process",
    "cancelled",
)
_NOT_ERRORS = ("KeyboardInterrupt", "SystemExit", "CancelledError")
_SURROUNDINGS = (
    "CUDA error",
    "NCCL",
    "No CUDA GPUs",
    "Address already in use",
    "on startup is less than desired",  # others hold the memory; on an empty GPU the share is there
    "couldn't connect",  # to the hub
    "Connection reset",
    "Connection refused",
    "timed out",
    "No space left on device",
    "Too many open files",
)
_SURROUNDING_KINDS = ("AcceleratorError", "BrokenPipeError", "ConnectionError", "DistBackendError", "TimeoutError")


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception that ended a process: the name of its class, and its message on one line."""

    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


def cause_in(log: Path) -> Raised | None:
    """The first exception in a log that says more than to look further up; None where there is none.

    Of exceptions raised from one another it is the last, which is the one written for people.
    """
    conclusions = [raised for raised in _conclusions(_lines(log)) if _says_why(raised)]
    return conclusions[0] if conclusions else None


def _says_why(raised: Raised) -> bool:
    return raised.kind not in _NOT_ERRORS and not any(text in raised.message for text in _NO_CAUSE)


def _lines(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            text = file.read(_LIMIT_BYTES).decode(errors="replace")
    except FileNotFoundError:  # nothing was started
        return []
    return [_PREFIX.sub("", line) for line in text.splitlines()]


def _conclusions(lines: list[str]) -> list[Raised]:
    """The exception each traceback ends with, one for a chain."""
    found: list[Raised] = []
    index, chained = 0, False
    while index < len(lines):
        line = lines[index]
        index += 1
        if line.startswith(_CHAINED):
            chained = True
        elif line.strip() == _TRACEBACK:
            raised, index = _raised(lines, index)
            if raised is not None:
                if chained and found:
                    found.pop()
                found.append(raised)
            chained = False
    return found


def _raised(lines: list[str], index: int) -> tuple[Raised | None, int]:
    """The exception below a traceback's frames, and the index behind its first paragraph."""
    while index < len(lines) and (lines[index].startswith((" ", "\t")) or not lines[index].strip()):
        index += 1
    match = _RAISED.match(lines[index]) if index < len(lines) else None
    if match is None:
        return None, index
    message = [match.group(3) or ""]
    index += 1
    while index < len(lines) and lines[index].startswith("  "):  # pydantic goes on below
        message.append(lines[index])
        index += 1
    return Raised(match.group(2), " ".join(" ".join(message).split())), index


def not_installed(error: BaseException) -> InfrastructureError | None:
    """The error of a node without vLLM; None if it is another."""
    if isinstance(error, ModuleNotFoundError) and error.name == "vllm":
        return InfrastructureError("vLLM is not installed on this node: docs/engines.md says how it is")
    return None


def refusal(raised: Raised) -> JoulegridError:
    """The error of an engine that did not start, in vLLM's own words."""
    text = f"vLLM does not start: {raised}"
    mends = raised.kind in _SURROUNDING_KINDS or any(words in raised.message for words in _SURROUNDINGS)
    return InfrastructureError(text) if mends else CellError(text)


def raised_by(error: BaseException) -> Raised:
    """An exception of vLLM's in this process, on one line; pydantic's says which argument."""
    if isinstance(error, ValidationError):
        return Raised(error.title, "; ".join(_of_field(part) for part in error.errors()))
    return Raised(type(error).__name__, " ".join(str(error).split()))


def _of_field(part: "ErrorDetails") -> str:
    message = " ".join(part["msg"].removeprefix("Value error, ").split())
    if not part["loc"]:
        return message
    return f"{'.'.join(map(str, part['loc']))}: {message}, got {str(part['input'])[:80]!r}"
