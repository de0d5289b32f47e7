"""A lane on a GPU that is not the cell's."""

from orchestrator.errors import InfrastructureError


class OtherGpu(InfrastructureError):
    """The node has another GPU than the cell says; a node that has it will do."""
