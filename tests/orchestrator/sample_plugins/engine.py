"""An engine plug-in of a user that has only options."""

from typing import Literal

from orchestrator.spec.engine import EngineOptions


class Options(EngineOptions):
    """In virtual time by default, so that an executor runs its cells with any cell function."""

    clock: Literal["virtual", "wall"] = "virtual"
