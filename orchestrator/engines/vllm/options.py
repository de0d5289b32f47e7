"""vLLM itself, on the GPUs of a node, or on its CPU where the node has none. Nothing here imports it before `build`."""

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from orchestrator.spec.engine import EngineOptions

_ELSEWHERE = {
    "model": "model=NAME or engine.checkpoint",
    "dtype": "model.dtype",
    "max_model_len": "model.max_model_len",
    "seed": "seed",
    "hf_overrides": "the fields of model",
    "skip_tokenizer_init": "engine.natural_stops",
    "data_parallel_size": "nothing: one engine is one replica",
    "pipeline_parallel_size": "engine.tensor_parallel_size, the GPUs that a lane books,",
    "prefill_context_parallel_size": "engine.tensor_parallel_size, the GPUs that a lane books,",
}
"""vLLM's arguments that a cell says elsewhere."""

_OURS = ("scheduler_cls", "stream_interval")
"""vLLM's arguments that the measurement itself needs as they are."""


class Options(EngineOptions):
    """What is not named here goes to vLLM's ``AsyncEngineArgs`` as it is, and vLLM's own error is shown.

    ``checkpoint`` is a path or a hub name; None gives the cell's model random weights. ``enforce_eager`` None is vLLM's
    default on GPUs, and true on a CPU, where compiling takes longer than it saves. ``natural_stops`` lets a request end
    at the model's end token; otherwise outputs have exactly the length the workflow asks for.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    uses_gpus: ClassVar[bool] = True

    kind: Literal["vllm"]
    clock: Literal["wall"] = "wall"
    checkpoint: str | None = Field(default=None, min_length=1)
    enforce_eager: bool | None = None
    natural_stops: bool = False

    @model_validator(mode="after")
    def _arguments_have_one_place(self) -> "Options":
        for name in self.passed_on:
            if name in _ELSEWHERE:
                raise ValueError(f"{name}: set {_ELSEWHERE[name]} instead")
            if name in _OURS:
                raise ValueError(f"{name}: cannot be set, what an iteration did is recorded by a scheduler of ours")
        if self.natural_stops and self.checkpoint is None:
            raise ValueError("natural_stops: needs a checkpoint, random weights have no reason to stop")
        return self

    @property
    def passed_on(self) -> dict[str, Any]:
        """The arguments that only vLLM knows."""
        return dict(self.model_extra or {})
