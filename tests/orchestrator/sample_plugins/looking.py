"""An engine that looks around before a sweep begins."""

from orchestrator.spec.engine import EngineOptions

looked: list[int] = []


class Options(EngineOptions):
    """Nothing beside what every engine has."""


def preflight(cell):
    looked.append(cell.engine.max_num_seqs)
