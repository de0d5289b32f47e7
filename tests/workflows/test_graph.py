from hypothesis import given
from random_graphs import workflows

from workflows.graph import OutputOf, Step, Unique, Workflow, remaining_tokens


def step(name, *parents, tokens=10, after=()):
    prompt = (Unique("question", 5), *(OutputOf(parent) for parent in parents))
    return Step(name=name, role="worker", prompt=prompt, output_tokens=tokens, after=after)


def remaining(*steps):
    return remaining_tokens(Workflow(workflow_id="w", tenant="t", steps=steps))


def test_a_chain_counts_down_to_its_last_step():
    assert remaining(step("a", tokens=5), step("b", "a", tokens=7), step("c", "b", tokens=11)) == {
        "a": 23,
        "b": 18,
        "c": 11,
    }


def test_a_task_group_counts_as_a_whole():
    maps = [step(f"map-{n}", tokens=50) for n in range(4)]
    actual = remaining(*maps, step("reduce", *(m.name for m in maps), tokens=30))
    assert actual == {**{f"map-{n}": 230 for n in range(4)}, "reduce": 30}


def test_last_steps_are_for_latency_even_side_by_side():
    assert remaining(step("plan"), step("short", "plan", tokens=2), step("long", "plan", tokens=40)) == {
        "plan": 50,
        "short": 2,
        "long": 40,
    }


def test_steps_with_other_parents_or_children_are_no_group():
    actual = remaining(step("a"), step("b", tokens=20), step("c", "a"), step("d", "b"), step("end", "c", "d"))
    assert actual == {"a": 30, "b": 40, "c": 20, "d": 20, "end": 10}


def test_layers_behind_barriers_are_groups():
    coders = [step(f"coder-{n}") for n in range(3)]
    names = tuple(coder.name for coder in coders)
    reviewers = [step(f"reviewer-{n}", f"coder-{n}", after=names) for n in range(3)]
    reviews = tuple(reviewer.name for reviewer in reviewers)
    actual = remaining(*coders, *reviewers, step("release", after=reviews))
    assert (actual["coder-0"], actual["reviewer-2"], actual["release"]) == (70, 40, 10)


@given(workflows())
def test_a_step_has_more_ahead_than_any_that_waits_for_it(flow):
    actual = remaining_tokens(flow)
    for step_ in flow.steps:
        after = max((actual[child.name] for child in flow.children[step_.name]), default=0)
        assert actual[step_.name] >= step_.output_tokens + after
