"""What a part says of its tokens or its text, and what a parent generated, is in the prompt as it is."""

from workflows.execute import calls_of, request_of
from workflows.graph import OutputOf, Step, Unique, Workflow
from workflows.request import Completion, Segment


def _completion(**known):
    return Completion(
        request_id="w/a",
        output_tokens=2,
        cached_tokens=0,
        n_preemptions=0,
        submitted_s=0.0,
        scheduled_s=0.0,
        first_token_s=1.0,
        finished_s=2.0,
        **known,
    )


def _prompt(*parts, **outputs):
    a = Step(name="a", role="r", prompt=(Unique("x", 1),), output_tokens=2)
    b = Step(name="b", role="r", prompt=parts, output_tokens=1)
    calls = calls_of(Workflow(workflow_id="w", tenant="t", steps=(a, b)), started_s=0.0)
    return request_of(calls["b"], outputs).prompt


def test_a_part_that_says_which_tokens_or_text_it_is():
    parts = (Unique("ids", 2, token_ids=(7, 8)), Unique("words", 3, text=" one two three"))
    assert _prompt(*parts) == (Segment("w:ids", 2, (7, 8)), Segment("w:words", 3, None, " one two three"))


def test_what_a_parent_generated():
    assert _prompt(OutputOf("a"), a=_completion(token_ids=(5, 6))) == (Segment("w/a", 2, (5, 6)),)
    assert _prompt(OutputOf("a"), a=_completion(text=" yes no")) == (Segment("w/a", 2, None, " yes no"),)
