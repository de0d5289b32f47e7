"""A role actor, without Ray: its requests, its results, and the outputs it keeps."""

import asyncio
from types import SimpleNamespace

import pytest

from orchestrator.errors import CellError
from orchestrator.ray_runtime.task_graph import RoleActor, StepResult
from workflows.execute import calls_of
from workflows.graph import OutputOf, Step, Unique, Workflow
from workflows.request import Completion

FLOW = Workflow(
    workflow_id="w0",
    tenant="lab",
    steps=(
        Step(name="plan", role="planner", prompt=(Unique("task", 5),), output_tokens=3),
        Step(name="code", role="coder", prompt=(OutputOf("plan"),), output_tokens=3),
        Step(
            name="mend", role="coder", prompt=(OutputOf("code"), OutputOf("plan")), output_tokens=3, after=("review",)
        ),
        Step(name="review", role="reviewer", prompt=(OutputOf("code"),), output_tokens=3),
    ),
)


CALLS = calls_of(FLOW, started_s=1.0)


def completion(request_id="w0/plan", token_ids=(7, 8, 9)):
    times_s = dict.fromkeys(("submitted_s", "scheduled_s", "first_token_s", "finished_s"), 2.0)
    return Completion(
        request_id=request_id,
        output_tokens=len(token_ids),
        cached_tokens=0,
        n_preemptions=0,
        token_ids=token_ids,
        token_times_s=(2.0,) * len(token_ids),
        **times_s,
    )


class Engine:
    """An actor handle that answers at once."""

    def __init__(self, error=None):
        self.requests = []
        self.generate = SimpleNamespace(remote=self._answer)
        self.error = error

    async def _answer(self, request):
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return completion(request.request_id)


def run(role, *steps):
    """The answers of the role to ``(name, keep, *parents)``, one after the other."""

    async def one_by_one():
        return [await role.step(CALLS[name], keep, *parents) for name, keep, *parents in steps]

    return asyncio.run(one_by_one())


def test_a_step_returns_one_result_each_for_waiting_and_reading_children_and_the_workflow_actor():
    ((waited, read, span),) = run(RoleActor(Engine()), ("code", False, StepResult(1.5, completion())))
    assert waited == StepResult(span.finished_s, None)
    assert (read.finished_s, read.output.token_ids, read.output.token_times_s) == (span.finished_s, (7, 8, 9), None)
    assert span.completion.token_times_s == (2.0, 2.0, 2.0)
    assert (span.step, span.role, span.parents) == ("code", "coder", ("plan",))


def test_a_step_is_ready_when_its_last_parent_had_finished():
    spans = [
        answers[2]
        for answers in run(RoleActor(Engine()), ("plan", False), ("code", True, StepResult(1.5, completion())))
    ]
    assert [span.ready_s for span in spans] == [1.0, 1.5]


def test_a_role_keeps_its_own_outputs():
    engine = Engine()
    run(
        RoleActor(engine),
        ("code", True, StepResult(1.5, completion())),
        ("mend", False, StepResult(2.0), StepResult(1.5, completion()), StepResult(3.0)),
    )
    assert [(part.content, part.token_ids) for part in engine.requests[1].prompt] == [
        ("w0/code", (7, 8, 9)),
        ("w0/plan", (7, 8, 9)),
    ]


def test_the_outputs_of_an_ended_workflow_are_dropped():
    role = RoleActor(Engine())
    run(role, ("code", True, StepResult(1.5, completion())))
    asyncio.run(role.forget("w0"))
    ((error, *_),) = run(role, ("mend", False, StepResult(2.0), StepResult(1.5, completion()), StepResult(3.0)))
    assert isinstance(error, CellError)
    assert "KeyError: 'code'" in str(error)


@pytest.mark.parametrize("parents", [(CellError("refused"),), (StepResult(1.5, completion()),)])
def test_an_error_is_returned_to_all_unchanged(parents):
    engine = Engine(CellError("refused"))
    ((*results,),) = run(RoleActor(engine), ("code", True, *parents))
    assert [(type(error), str(error)) for error in results] == [(CellError, "refused")] * 3
    assert len(engine.requests) == (0 if isinstance(parents[0], CellError) else 1)
