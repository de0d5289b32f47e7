"""How long a context a workload needs, known before anything starts."""

from collections import defaultdict

from workflows.source import WorkflowSource


def max_context_tokens(source: WorkflowSource, n: int) -> dict[str, int]:
    """Longest prompt and output of any step of each role in the first ``n`` workflows, outputs at their full length.

    Roles come in the order they first appear.
    """
    longest: defaultdict[str, int] = defaultdict(int)
    for workflow in (source.workflow(index) for index in range(n)):
        for step in workflow.steps:
            longest[step.role] = max(longest[step.role], workflow.context_tokens(step))
    return dict(longest)
