"""What follows a failed attempt: one more, or the end of the cell."""

from dataclasses import dataclass

from orchestrator.errors import InfrastructureError, JoulegridError


@dataclass(frozen=True, slots=True)
class Retry:
    """The cell may be fine: it goes back to the end of the queue."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The cell is recorded as failed; ``why`` ends its story in one phrase."""

    why: str


def decide(error: JoulegridError, n_attempts: int, max_attempts: int) -> Retry | Fail:
    """Whether a cell whose ``n_attempts``-th attempt of this run ended in ``error`` is tried again."""
    if not isinstance(error, InfrastructureError):
        return Fail("repeating it would fail again")
    if n_attempts >= max_attempts:
        return Fail(f"lost {n_attempts} times, which is max_attempts={max_attempts}")
    return Retry()
