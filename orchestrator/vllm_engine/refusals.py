"""vLLM's own exceptions as ours: what is the cell's fault, and what a repetition elsewhere may mend."""

from pydantic import ValidationError

from orchestrator.errors import CellError, InfrastructureError, JoulegridError
from orchestrator.vllm_engine.core_log import Raised

_SURROUNDINGS = (
    "CUDA error",
    "NCCL",
    "No CUDA GPUs",
    "Address already in use",
    "on startup is less than desired",  # others hold the memory; on an empty GPU the share is there
)
_SURROUNDING_KINDS = ("AcceleratorError", "BrokenPipeError", "ConnectionError", "DistBackendError", "TimeoutError")


def refusal(raised: Raised) -> JoulegridError:
    """The error of an engine that did not start, in vLLM's own words."""
    text = f"vLLM does not start: {raised}"
    mends = raised.kind in _SURROUNDING_KINDS or any(words in raised.message for words in _SURROUNDINGS)
    return InfrastructureError(text) if mends else CellError(text)


def raised_by(error: BaseException) -> Raised:
    """An exception of vLLM's in this process, on one line; pydantic's says which argument."""
    if isinstance(error, ValidationError):
        parts = [_of_field(str(".".join(map(str, part["loc"]))), part["msg"]) for part in error.errors()]
        return Raised(error.title, "; ".join(parts))
    return Raised(type(error).__name__, " ".join(str(error).split()))


def _of_field(name: str, message: str) -> str:
    plain = " ".join(message.removeprefix("Value error, ").split())
    return f"{name}: {plain}" if name else plain
