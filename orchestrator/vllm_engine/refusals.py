"""vLLM's own exceptions as ours: what is the cell's fault, and what a repetition elsewhere may mend."""

from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator.errors import CellError, InfrastructureError, JoulegridError
from orchestrator.vllm_engine.core_log import Raised

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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
