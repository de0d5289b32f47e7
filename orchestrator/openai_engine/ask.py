"""One completion asked of a server, streamed to its end."""

from typing import Any

from orchestrator.errors import InfrastructureError
from orchestrator.openai_engine.answer import Answer
from orchestrator.openai_engine.client import Client
from orchestrator.openai_engine.refusal import refusal

COMPLETIONS = "/v1/completions"


async def ask(client: Client, body: dict[str, Any]) -> tuple[Answer, float]:
    """The whole answer, and when the request was written, on CLOCK_MONOTONIC. Units: s.

    Raises:
        CellError: the server refuses the request.
        InfrastructureError: it was not reached, broke down, or was cut off.
    """
    answer = Answer()
    response = await client.post(COMPLETIONS, body, answer.piece)
    if response.status != 200:
        raise refusal(response, COMPLETIONS)
    if answer.error is not None:
        raise answer.error
    if not answer.ended:
        raise InfrastructureError(f"{COMPLETIONS} ended its stream without a finish_reason: it was cut")
    return answer, response.submitted_s
