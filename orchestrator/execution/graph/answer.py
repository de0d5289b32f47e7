"""Asking an actor: what comes back is its value, or one of our errors."""

import asyncio
import time
from typing import Any

from orchestrator.errors import InfrastructureError, JoulegridError, as_cell_error
from orchestrator.execution.ray_cluster import one_line

_CANCEL_EVERY_S = 0.2  # Ray loses the cancellation of a call that is on its way
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
        await asyncio.shield(asyncio.ensure_future(_cancelled(ref)))  # goes on though we may be cancelled again
        raise
    except ray.exceptions.RayTaskError as error:
        raise as_cell_error(error.cause) from error
    except ray.exceptions.RayError as error:
        raise InfrastructureError(f"{asked} was lost: {one_line(error)}") from error
    if isinstance(value, JoulegridError):
        raise value
    return value


async def _cancelled(ref: Any) -> None:
    """Cancel a call until it has ended, however it did; not for ever."""
    import ray

    deadline_s = time.monotonic() + _CANCEL_TIMEOUT_S
    ended = asyncio.gather(ref.as_future(_internal=True), return_exceptions=True)
    while not ended.done() and time.monotonic() < deadline_s:
        ray.cancel(ref)
        await asyncio.wait([ended], timeout=_CANCEL_EVERY_S)
