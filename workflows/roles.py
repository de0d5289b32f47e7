"""The agents of a workload."""

from workflows.source import WorkflowSource


def roles_of(source: WorkflowSource, n: int) -> tuple[str, ...]:
    """Roles of the first ``n`` workflows, each once, in the order they appear."""
    workflows = (source.workflow(index) for index in range(n))
    return tuple(dict.fromkeys(step.role for workflow in workflows for step in workflow.steps))
