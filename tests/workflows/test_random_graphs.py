"""Any graph at all: every step runs once, the moment its last parent has finished."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runner.virtual_loop import VirtualLoop
from workflows.execute import execute
from workflows.graph import OutputOf, Step, Unique, Workflow


@st.composite
def workflows(draw):
    n_steps = draw(st.integers(1, 12))
    steps = []
    for number in range(n_steps):
        earlier = [f"s{parent}" for parent in range(number)]
        subset = st.lists(st.sampled_from(earlier), unique=True) if earlier else st.just([])
        prompt = (Unique("q", 1), *(OutputOf(parent) for parent in draw(subset)))
        steps.append(
            Step(name=f"s{number}", role="r", prompt=prompt, output_tokens=number + 1, after=tuple(draw(subset)))
        )
    return Workflow(workflow_id="w", tenant="t", steps=tuple(draw(st.permutations(steps))))


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
