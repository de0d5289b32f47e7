"""How long a context a workload needs, known before anything starts."""

from workflows.source import WorkflowSource


def max_context_tokens(source: WorkflowSource, n: int) -> int:
    """Longest prompt and output of any step of the first ``n`` workflows, when every output has its full length."""
    workflows = (source.workflow(index) for index in range(n))
    return max(workflow.context_tokens(step) for workflow in workflows for step in workflow.steps)
