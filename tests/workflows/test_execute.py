import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import workflows

from orchestrator.runner.virtual_loop import VirtualLoop
from workflows.execute import calls_of, execute, request_of
from workflows.graph import OutputOf, Shared, Step, Unique, Workflow
from workflows.request import Segment


def step(name, *parents, after=(), output_tokens=10):
    prompt = (Unique("question", 5), *(OutputOf(parent) for parent in parents))
    return Step(name=name, role="worker", prompt=prompt, output_tokens=output_tokens, after=after)


def workflow(*steps):
    return Workflow(workflow_id="w0", tenant="lab", steps=steps)


DIAMOND = workflow(step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"))


def test_a_step_starts_the_moment_its_last_parent_has_finished(run, engine):
    durations = {"a": 1.0, "b": 2.0, "c": 5.0, "d": 1.0}
    engine.duration_s = lambda request: durations[request.step]
    spans = run(execute(DIAMOND, generate=engine.generate, clock=engine.clock))
    assert [span.step for span in spans] == ["a", "b", "c", "d"]
    assert [span.ready_s for span in spans] == [0.0, 1.0, 1.0, 6.0]
    assert [span.finished_s for span in spans] == [1.0, 3.0, 6.0, 7.0]
    assert spans[3].parents == ("b", "c")
    assert spans[3].completion.request_id == spans[3].request_id == "w0/d"


def test_a_barrier_holds_a_step_without_adding_to_its_prompt(run, engine):
    flow = workflow(step("slow"), step("late", after=("slow",)))
    spans = run(execute(flow, generate=engine.generate, clock=engine.clock))
    assert spans[1].ready_s == 1.0
    assert engine.by_id["w0/late"].prompt == (Segment("w0:question", 5),)


def test_the_output_of_a_parent_is_a_segment_of_its_actual_length(run, engine):
    engine.output_tokens = lambda request: 7
    run(execute(DIAMOND, generate=engine.generate, clock=engine.clock))
    assert engine.by_id["w0/d"].prompt == (Segment("w0:question", 5), Segment("w0/b", 7), Segment("w0/c", 7))


def test_shared_and_unique_parts_name_their_contents_and_empty_parts_are_dropped():
    first = Step(
        name="ask",
        role="chat",
        prompt=(Shared("system", 100), Unique("history", 0), Unique("question", 5)),
        output_tokens=3,
    )
    request = request_of(calls_of(workflow(first), started_s=2.0)["ask"], {})
    assert request.prompt == (Segment("shared:system", 100), Segment("w0:question", 5))
    assert request.prompt_tokens == 105
    assert (request.request_id, request.workflow_id, request.tenant) == ("w0/ask", "w0", "lab")
    assert (request.step, request.role, request.output_tokens) == ("ask", "chat", 3)
    assert (request.priority, request.workflow_started_s, request.remaining_tokens) == (0, 2.0, 3)


def test_a_request_says_what_a_scheduler_may_go_by(run, engine):
    async def late():
        await asyncio.sleep(5.0)
        await execute(replace(DIAMOND, priority=-1), generate=engine.generate, clock=engine.clock)

    run(late())
    assert {request.workflow_started_s for request in engine.requests} == {5.0}
    assert {request.priority for request in engine.requests} == {-1}
    assert [engine.by_id[f"w0/{step}"].remaining_tokens for step in "abcd"] == [40, 30, 30, 10]


def test_an_error_cancels_the_rest_of_the_workflow_and_comes_out_as_it_is(run, engine):
    cause = KeyError("cause")

    async def generate(request):
        if request.step == "b":
            await asyncio.sleep(1.0)
            raise RuntimeError("engine refuses b") from cause
        return await engine.generate(request)

    engine.duration_s = lambda request: 100.0 if request.step == "c" else 1.0
    with pytest.raises(RuntimeError, match="engine refuses b") as caught:
        run(execute(DIAMOND, generate=generate, clock=engine.clock))
    assert caught.value.__cause__ is cause
    assert engine.cancelled == ["w0/c"]
    assert "w0/d" not in engine.by_id


def test_errors_of_the_same_moment_are_notes_of_the_first(run, engine):
    async def generate(request):
        if request.step in "bc":
            raise RuntimeError(f"no {request.step}")
        return await engine.generate(request)

    with pytest.raises(RuntimeError, match="no b") as caught:
        run(execute(DIAMOND, generate=generate, clock=engine.clock))
    assert caught.value.__notes__ == ["at the same time: RuntimeError('no c')"]


@given(flow=workflows(), data=st.data())
def test_every_step_runs_once_when_its_last_parent_has_finished(fake_engine, flow, data):
    durations = {step.name: data.draw(st.integers(0, 5)) for step in flow.steps}
    engine = fake_engine(duration_s=lambda request: durations[request.step])
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        spans = runner.run(execute(flow, generate=engine.generate, clock=engine.clock))
    finished_s = {span.step: span.finished_s for span in spans}
    assert [span.step for span in spans] == [step.name for step in flow.steps]
    assert len(engine.requests) == len(flow.steps)
    for span in spans:
        assert span.ready_s == max((finished_s[parent] for parent in span.parents), default=0.0)
        assert span.finished_s == span.ready_s + durations[span.step]
