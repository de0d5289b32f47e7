"""What lies ahead of each step of a workflow, deduced from its graph alone.

After Parrot (OSDI'24), which deduces performance objectives from the graph: steps that become ready together and are
waited for by the same steps form a *task group*. No member is worth anything before all are done, so a group is
*throughput*-oriented and its work counts as a whole. Every other step is *latency*-oriented, the last steps above all:
what counts is its own end.
"""

import graphlib
from collections import defaultdict

from workflows.graph import Step, Workflow


def remaining_tokens(workflow: Workflow) -> dict[str, int]:
    """Output tokens from the start of each step, by its name, to the end of the workflow along its critical path.

    The longest path from the step to an end, its own tokens included, where a task group counts with the tokens of all
    its members: they share one engine, so a path through a group of twenty is not as short as one of its members.
    """
    if len(workflow.steps) == 1:  # most of a chat load
        return {step.name: step.output_tokens for step in workflow.steps}
    tokens = _group_tokens(workflow)
    remaining: dict[str, int] = {}
    parents = {step.name: step.parents for step in workflow.steps}
    for name in reversed(tuple(graphlib.TopologicalSorter(parents).static_order())):
        after = max((remaining[child.name] for child in workflow.children[name]), default=0)
        remaining[name] = tokens[name] + after
    return remaining


def _group_tokens(workflow: Workflow) -> dict[str, int]:
    """Output tokens of each step's task group; of the step alone where it is in none."""
    place = {step.name: _place(workflow, step) for step in workflow.steps}
    tokens: dict[tuple[frozenset[str], frozenset[str]], int] = defaultdict(int)
    for step in workflow.steps:
        tokens[place[step.name]] += step.output_tokens
    return {
        step.name: tokens[place[step.name]] if workflow.children[step.name] else step.output_tokens
        for step in workflow.steps
    }


def _place(workflow: Workflow, step: Step) -> tuple[frozenset[str], frozenset[str]]:
    """What a step waits for, and what waits for it: equal in a task group."""
    return frozenset(step.parents), frozenset(child.name for child in workflow.children[step.name])
