"""Hypothesis strategy for workflows of any graph."""

from hypothesis import strategies as st

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
