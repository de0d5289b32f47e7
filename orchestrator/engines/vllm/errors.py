"""Why vLLM did not start or ended: exceptions of this process, and those in the log of the engine core.

vLLM reports only that its core failed; the exception itself is in what the core and its workers print.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator.errors import CellError, InfrastructureError, JoulegridError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_MAX_LOG_BYTES = 1 << 20
_PREFIX = re.compile(r"^(\(\w[^)]*\) )?((DEBUG|INFO|WARNING|ERROR|CRITICAL) [\d-]+ [\d:.]+ \[[^\]]*\] ?)?")
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION_LINE = re.compile(r"^((?:\w+\.)*(\w+))(?:: (.*))?$")
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_SECONDARY_MESSAGES = (
    "See root cause above",
    "See stack trace for root cause",
    "initialization failed due to an exception in a background process",
    "cancelled",
)
_SHUTDOWN_KINDS = ("KeyboardInterrupt", "SystemExit", "CancelledError")
_TRANSIENT_MESSAGES = (
    "CUDA error",
    "NCCL",
    "No CUDA GPUs",
    "Address already in use",
    "on startup is less than desired",  # another process uses the memory of the GPU
    "couldn't connect",  # to the hub
    "Connection reset",
    "Connection refused",
    "timed out",
    "No space left on device",
    "Too many open files",
)
_TRANSIENT_KINDS = ("AcceleratorError", "BrokenPipeError", "ConnectionError", "DistBackendError", "TimeoutError")


@dataclass(frozen=True, slots=True)
class ExceptionInfo:
    """An exception: the name of its class, and its message on one line."""

    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


def exception_info(error: BaseException) -> ExceptionInfo:
    """Return an exception of this process on one line; one of pydantic with the names of the arguments."""
    if isinstance(error, ValidationError):
        return ExceptionInfo(error.title, "; ".join(_field_message(details) for details in error.errors()))
    return ExceptionInfo(type(error).__name__, " ".join(str(error).split()))


def _field_message(details: "ErrorDetails") -> str:
    message = " ".join(details["msg"].removeprefix("Value error, ").split())
    if not details["loc"]:
        return message
    return f"{'.'.join(map(str, details['loc']))}: {message}, got {str(details['input'])[:80]!r}"


def start_error(info: ExceptionInfo) -> JoulegridError:
    """Return the error of a failed start: `InfrastructureError` if a retry may succeed, else `CellError`."""
    text = f"vLLM does not start: {info}"
    transient = info.kind in _TRANSIENT_KINDS or any(part in info.message for part in _TRANSIENT_MESSAGES)
    return InfrastructureError(text) if transient else CellError(text)


def not_installed_error(error: BaseException) -> InfrastructureError | None:
    """Return the error of a node without vLLM; None if ``error`` has another reason."""
    if isinstance(error, ModuleNotFoundError) and error.name == "vllm":
        return InfrastructureError("vLLM is not installed on this node; docs/engines.md describes the installation")
    return None


def root_cause(log: Path) -> ExceptionInfo | None:
    """Return the first exception in a log that does not refer to another one; None if there is none.

    Of a chain of exceptions the last is returned, because its message is written for users.
    """
    infos = _logged_exceptions(_log_lines(log))
    return next((info for info in infos if _is_root_cause(info)), None)


def _is_root_cause(info: ExceptionInfo) -> bool:
    return info.kind not in _SHUTDOWN_KINDS and not any(text in info.message for text in _SECONDARY_MESSAGES)


def _log_lines(log: Path) -> list[str]:
    """Return the lines without vLLM's prefixes; none if no process was started."""
    try:
        with log.open("rb") as file:
            text = file.read(_MAX_LOG_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return []
    return [_PREFIX.sub("", line) for line in text.splitlines()]


def _logged_exceptions(lines: list[str]) -> list[ExceptionInfo]:
    """Return the last exception of each traceback or chain of tracebacks."""
    infos: list[ExceptionInfo] = []
    index, chained = 0, False
    while index < len(lines):
        line = lines[index]
        index += 1
        if line.startswith(_CHAINED):
            chained = True
        elif line.strip() == _TRACEBACK:
            info, index = _parse_exception(lines, index)
            if info is not None:
                if chained and infos:
                    infos.pop()
                infos.append(info)
            chained = False
    return infos


def _parse_exception(lines: list[str], index: int) -> tuple[ExceptionInfo | None, int]:
    """Return the exception below a traceback's frames, and the index after its first paragraph."""
    while index < len(lines) and (lines[index].startswith((" ", "\t")) or not lines[index].strip()):
        index += 1
    match = _EXCEPTION_LINE.match(lines[index]) if index < len(lines) else None
    if match is None:
        return None, index
    message = [match.group(3) or ""]
    index += 1
    while index < len(lines) and lines[index].startswith("  "):  # a message of pydantic has several lines
        message.append(lines[index])
        index += 1
    return ExceptionInfo(match.group(2), " ".join(" ".join(message).split())), index
