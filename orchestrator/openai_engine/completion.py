"""From what a server streamed to what a cell keeps."""

import math

from orchestrator.errors import CellError
from orchestrator.openai_engine.answer import Answer
from workflows.request import Completion, Request


def check_length(request: Request, answer: Answer, *, may_stop: bool) -> None:
    """Refuse an answer of another length; where the model ``may_stop`` by itself, of a greater one.

    Raises:
        CellError: as said, or the server counts tokens that were not seen to arrive.
    """
    asked, came = request.output_tokens, answer.n_tokens
    if came > asked or came < (1 if may_stop else asked):
        raise CellError(
            f"request {request.request_id}: {asked} output tokens were asked for and {came} came (finish_reason "
            f"{answer.finish_reason}); without natural_stops the server must take ignore_eos or min_tokens"
        )
    if not answer.chunks_s:
        raise CellError(f"request {request.request_id}: the server counts {came} tokens but streamed none")


def completion_of(request: Request, answer: Answer, submitted_s: float, *, with_text: bool) -> Completion:
    """The completion of a request whose answer is checked.

    Its text and the server's count of the prompt are kept ``with_text``: where the prompt went as text.
    """
    n_tokens, times_s = answer.n_tokens, answer.token_times_s()
    usage = answer.usage or {}
    details = usage.get("prompt_tokens_details") or {}
    return Completion(
        request_id=request.request_id,
        output_tokens=n_tokens,
        cached_tokens=details.get("cached_tokens"),
        n_preemptions=None,
        submitted_s=submitted_s,
        scheduled_s=math.nan,
        first_token_s=times_s[0],
        finished_s=times_s[-1],
        token_ids=tuple(answer.token_ids) if len(answer.token_ids) == n_tokens else None,
        token_times_s=times_s,
        text="".join(answer.texts) if with_text else None,
        prompt_tokens=usage.get("prompt_tokens") if with_text else None,
    )
