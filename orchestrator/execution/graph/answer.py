"""Asking an actor: what comes back is its value, or one of our errors."""

import asyncio
import contextlib
from typing import Any

from orchestrator.errors import InfrastructureError, JoulegridError
from orchestrator.execution.cause import as_cell_error
from orchestrator.execution.ray_cluster import one_line

_CANCEL_TIMEOUT_S = 5.0


async def answer(ref: Any, asked: str) -> Any:
    """The value of a call on the actor that ``asked`` names; cancelled, it cancels the call and waits for its end.

    Raises:
        JoulegridError: what the call returned instead of a value, as it is.
        CellError: what the call raised.
        InfrastructureError: the actor was lost.
    """
    import ray

    try:
        value = await ref
    except asyncio.CancelledError:
        ray.cancel(ref)
        await _end_of(ref)
        raise
    except ray.exceptions.RayTaskError as error:
        raise as_cell_error(error.cause) from error
    except ray.exceptions.RayError as error:
        raise InfrastructureError(f"{asked} was lost: {one_line(error)}") from error
    if isinstance(value, JoulegridError):
        raise value
    return value


async def _end_of(ref: Any) -> None:
    """Wait, not for ever, until a cancelled call has ended, however it did."""

    async def ended() -> None:
        await asyncio.gather(ref.as_future(_internal=True), return_exceptions=True)

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended(), _CANCEL_TIMEOUT_S)
