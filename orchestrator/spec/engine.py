"""What a cell asks of an engine: the contract of every file in `orchestrator.engines`.

An engine file named ``<kind>.py`` holds ``class Options(EngineOptions)``,
``def check(cell: Cell) -> None`` (raises `InfeasibleCell` from the cell's own figures, before anything starts) and
``def build(cell: Cell, clock: Clock) -> Engine``. It may hold ``def preflight(cell: Cell) -> None``, which raises
`EnvironmentFailure` where nothing would run anyway, once an engine before a sweep begins: a server that is not there.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    pass


SchedulingPolicy = Literal["fcfs", "priority", "workflow"]
"""vLLM's two orders of waiting, and ours by what the workflows still have ahead (`orchestrator.serving.engine`)."""


class EngineOptions(BaseModel):
    """Options every engine has, under vLLM's names; ``clock`` is virtual only where nothing real runs.

    ``simulated`` says whether the engine computes times and energies rather than measuring them, ``uses_gpus`` whether
    it runs on GPUs of the node it is placed on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    simulated: ClassVar[bool] = False
    uses_gpus: ClassVar[bool] = False

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

    @property
    def exclusive(self) -> str | None:
        """What two cells would disturb each other on beyond their own lanes (a server's address); None: nothing."""
        return None
