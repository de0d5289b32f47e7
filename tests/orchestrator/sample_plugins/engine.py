"""An engine plug-in of a user's own: options only."""

from typing import Literal

from orchestrator.spec.engine import EngineOptions


class Options(EngineOptions):
    """In virtual time, so that whatever function an executor is given runs its cells."""

    clock: Literal["virtual", "wall"] = "virtual"
