"""An engine plug-in of a user's own: options only."""

from orchestrator.engine import EngineOptions


class Options(EngineOptions):
    """Nothing beside what every engine has."""
