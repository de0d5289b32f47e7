"""An engine with a preflight check."""

from orchestrator.spec.engine import EngineOptions

looked: list[int] = []


class Options(EngineOptions):
    """Only the options of every engine."""


def preflight(cell):
    looked.append(cell.engine.max_num_seqs)
