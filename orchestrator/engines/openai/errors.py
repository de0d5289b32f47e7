"""What a server says when it does not answer, in one line."""

import json
from typing import Any

from orchestrator.engines.openai.http import Response
from orchestrator.errors import CellError, InfrastructureError

BUSY = frozenset({408, 425, 429, 503})
"""Statuses that say nothing of the request: timed out, too early, too many, not now."""
_LONGEST = 400


def refusal(response: Response, where: str) -> CellError | InfrastructureError:
    """The error for a status other than 200: 4xx would be refused again but for `BUSY`, anything else may pass."""
    text = f"{where} answered HTTP {response.status}: {_message(_decoded(response.body)) or 'nothing more'}"
    return _error(response.status, text)


def told(event: dict[str, Any]) -> CellError | InfrastructureError:
    """The error for one that came inside a stream."""
    error = event["error"]
    code = error.get("code") if isinstance(error, dict) else None
    text = f"the server gave up in mid-answer: {_message(event)}"
    return _error(code if isinstance(code, int) else 500, text)


def _error(status: int, text: str) -> CellError | InfrastructureError:
    return CellError(text) if 400 <= status < 500 and status not in BUSY else InfrastructureError(text)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def _message(found: Any) -> str:
    """OpenAI and vLLM: error.message; SGLang: message; TGI: error; FastAPI: detail."""
    while isinstance(found, dict):
        found = next((found[key] for key in ("error", "message", "detail") if found.get(key)), json.dumps(found))
    return " ".join((found if isinstance(found, str) else json.dumps(found)).split())[:_LONGEST]
