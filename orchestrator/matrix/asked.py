"""Whether a command line asked for cells at all: ``resume=ID`` alone means the sweep's own."""

from collections.abc import Iterable

from orchestrator.matrix.cells import QUESTION
from orchestrator.spec.settings import Matrix, Settings

_OUTSIDE_CELLS = {*Settings.model_fields, "hydra", QUESTION, "protocol.order", "protocol.max_attempts"}
_STOP_RULE = "protocol.stop_when"


def asked_matrix(matrix: Matrix) -> Matrix | None:
    """The matrix, or None where nothing on the command line was about cells."""
    return matrix if asks_for_cells(matrix.name, matrix.overrides) else None


def asks_for_cells(name: str, overrides: Iterable[str]) -> bool:
    """Whether a command line, which composed to a sweep of this name, said anything of cells."""
    return name != "single" or any(_is_about_cells(override) for override in overrides)


def _is_about_cells(override: str) -> bool:
    if override.startswith("-"):
        return False
    key = override.partition("=")[0].lstrip("+~")
    if key == _STOP_RULE or key.startswith(f"{_STOP_RULE}."):
        return False
    return key not in _OUTSIDE_CELLS and key.partition(".")[0] not in _OUTSIDE_CELLS
