"""Options that every engine has. The contract of an engine is in `orchestrator.serving.engine`."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

SchedulingPolicy = Literal["fcfs", "priority", "workflow"]
"""vLLM's two policies, and one by the remaining work of workflows (`orchestrator.serving.engine`)."""


class EngineOptions(BaseModel):
    """Base class of the options of every engine, with vLLM's names. ``clock`` is virtual only if all is simulated.

    ``simulated`` says whether the engine computes times and energies instead of measuring them, ``uses_gpus`` whether
    it runs on GPUs of its node.
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
        """A resource outside the lanes that one cell at a time may use, such as a server's address; None if none."""
        return None
