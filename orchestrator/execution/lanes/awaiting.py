"""How a lane waits without blocking the driver: it yields what it waits for."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Await:
    """The first of these references, until this time of the monotonic clock."""

    refs: tuple[Any, ...]
    deadline_s: float | None = None


Steps = Generator[Await, Any, Any]
"""Is sent the reference that is ready, or None: the time is up, or there is something else to do."""
