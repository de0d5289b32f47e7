"""The simulated engine: vLLM V1's scheduler in virtual time, with modelled step times and power. No GPU, no weights."""

from typing import ClassVar, Literal

from orchestrator.engines.simulated.core import Stepping
from orchestrator.spec.engine import EngineOptions


class Options(EngineOptions):
    """``stepping`` step_by_step plans every iteration on its own: slower, the same to rounding; for checking.

    ``record_scheduled`` keeps the series ``scheduled``, as a real engine has it: slower, too.
    """

    simulated: ClassVar[bool] = True

    kind: Literal["simulated"]
    clock: Literal["virtual", "wall"] = "virtual"
    stepping: Stepping = "closed_form"
    record_scheduled: bool = False
