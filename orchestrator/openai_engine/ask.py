"""One completion asked of a server, streamed to its end."""

from collections.abc import Callable
from typing import Any

from orchestrator.errors import InfrastructureError
from orchestrator.openai_engine.answer import Answer
from orchestrator.openai_engine.client import Client
from orchestrator.openai_engine.refusal import refusal

COMPLETIONS = "/v1/completions"


async def ask(client: Client, body: dict[str, Any], on_part: Callable[[], None] | None = None) -> tuple[Answer, float]:
    """The whole answer, and when it was asked for, on CLOCK_MONOTONIC. Units: s. ``on_part`` hears of arriving tokens.

    Raises:
        CellError: the server refuses the request.
        InfrastructureError: it was not reached, broke down, or was cut off.
    """
    answer = Answer(on_part=on_part)
    response = await client.post(COMPLETIONS, body, answer.piece)
    if response.status != 200:
        raise refusal(response, COMPLETIONS)
    if answer.error is not None:
        raise answer.error
    if not answer.ended:
        raise InfrastructureError(f"{COMPLETIONS} ended its stream without a finish_reason: it was cut")
    return answer, response.submitted_s
