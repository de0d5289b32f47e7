"""Options of `engine=vllm`; this module does not import vLLM."""

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from orchestrator.spec.engine import EngineOptions

_SET_TENSOR_PARALLEL = "set engine.tensor_parallel_size, the number of GPUs that a lane reserves, instead"
_REFUSED_ARGUMENTS = {
    "model": "set model=NAME or engine.checkpoint instead",
    "dtype": "set model.dtype instead",
    "max_model_len": "set model.max_model_len instead",
    "seed": "set seed instead",
    "hf_overrides": "set the fields of model instead",
    "skip_tokenizer_init": "set engine.natural_stops instead",
    "data_parallel_size": "cannot be set, because one engine is one replica",
    "pipeline_parallel_size": _SET_TENSOR_PARALLEL,
    "prefill_context_parallel_size": _SET_TENSOR_PARALLEL,
    "scheduler_cls": "cannot be set, because Joulegrid's scheduler records the iterations",
    "stream_interval": "cannot be set, because the arrival of every token is stamped",
}
"""Arguments of vLLM that a cell sets with another key, or that the measurement needs as they are."""


class Options(EngineOptions):
    """Options of vLLM. Unknown ones are passed to vLLM's ``AsyncEngineArgs``, which validates them.

    ``checkpoint`` is a path or a hub name; None gives the cell's model random weights. ``enforce_eager`` None is vLLM's
    default on GPUs, and true on a CPU, where compilation takes longer than it saves. With ``natural_stops`` a request
    may end at the model's end token; otherwise outputs have exactly the length that the workflow requests.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    uses_gpus: ClassVar[bool] = True

    kind: Literal["vllm"]
    clock: Literal["wall"] = "wall"
    checkpoint: str | None = Field(default=None, min_length=1)
    enforce_eager: bool | None = None
    natural_stops: bool = False

    @model_validator(mode="after")
    def _check_arguments(self) -> "Options":
        for name in self.passed_on:
            if name in _REFUSED_ARGUMENTS:
                raise ValueError(f"{name}: {_REFUSED_ARGUMENTS[name]}")
        if self.natural_stops and self.checkpoint is None:
            raise ValueError("natural_stops: needs a checkpoint, because random weights do not choose the end token")
        return self

    @property
    def passed_on(self) -> dict[str, Any]:
        """Arguments that are passed to vLLM unchanged."""
        return dict(self.model_extra or {})
