from dataclasses import replace

import pytest

from orchestrator.serving.engine import due_s
from workflows.request import Request, Segment

REQUEST = Request(
    request_id="w/s",
    workflow_id="w",
    tenant="t",
    step="s",
    role="r",
    prompt=(Segment("a", 5),),
    output_tokens=5,
    workflow_started_s=7.0,
    remaining_tokens=100,
)


def test_a_workflow_is_due_fifty_milliseconds_a_token_after_it_began():
    assert due_s(REQUEST) == pytest.approx(12.0)
    assert due_s(replace(REQUEST, remaining_tokens=0)) == 7.0


def test_less_ahead_goes_first_until_the_other_has_waited_for_it():
    longer = replace(REQUEST, remaining_tokens=140)
    assert due_s(REQUEST) < due_s(longer)
    assert due_s(replace(REQUEST, workflow_started_s=7.0 + 1.9)) < due_s(longer)
    assert due_s(replace(REQUEST, workflow_started_s=7.0 + 2.1)) > due_s(longer)
