"""Tasks that live and fail together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """An `asyncio.TaskGroup` that raises the first error itself; errors that came with it become its notes."""
    failed: BaseExceptionGroup[BaseException] | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        failed = group
    if failed is not None:  # outside the handler, so that the error keeps its own cause and context
        first, *others = failed.exceptions
        for other in others:
            first.add_note(f"at the same time: {other!r}")
        raise first
