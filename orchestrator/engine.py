"""What a cell asks of an engine: the contract of every file in `orchestrator.engines`.

An engine file named ``<kind>.py`` holds ``class Options(EngineOptions)``,
``def check(cell: Cell) -> None`` (raises `InfeasibleCell` from the cell's own figures, before anything starts) and
``def build(cell: Cell, clock: Clock) -> Engine``.
"""

from typing import ClassVar, Literal, Protocol

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from workflows.request import Completion, Request

SchedulingPolicy = Literal["fcfs", "priority", "workflow"]
"""vLLM's two orders of waiting, and ours by what the workflows still have ahead (`orchestrator.urgency`)."""


class EngineOptions(BaseModel):
    """Options every engine has, under vLLM's names; ``clock`` is virtual only where nothing real runs.

    ``simulated`` says whether the engine computes times and energies rather than measuring them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    simulated: ClassVar[bool] = False

    kind: str
    clock: Literal["virtual", "wall"] = "wall"
    max_num_seqs: int = Field(ge=1)
    max_num_batched_tokens: int = Field(ge=1)
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    block_size: int = Field(default=16, ge=1)
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    tensor_parallel_size: int = Field(default=1, ge=1)
    scheduling_policy: SchedulingPolicy = "fcfs"


class Engine(Protocol):
    """A loaded model that answers requests."""

    async def generate(self, request: Request) -> Completion:
        """Answer one request; many may be in flight.

        Raises:
            CellError: the engine refuses the request (longer than the context, say).
        """
        ...

    def iterations(self) -> pa.Table:
        """What the scheduler did, in `orchestrator.series.ITERATIONS`."""
        ...

    async def close(self) -> None:
        """Give everything back; nothing is in flight any more."""
        ...
