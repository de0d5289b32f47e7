"""Whether a command line asked for cells at all: ``resume=ID`` alone means the sweep's own."""

from orchestrator.matrix.cells import QUESTION
from orchestrator.settings import Matrix, Settings

_OUTSIDE_CELLS = {*Settings.model_fields, "hydra", QUESTION, "protocol.order", "protocol.max_attempts"}


def asked_matrix(matrix: Matrix) -> Matrix | None:
    """The matrix, or None where nothing on the command line was about cells."""
    if matrix.name != "single" or any(_is_about_cells(override) for override in matrix.overrides):
        return matrix
    return None


def _is_about_cells(override: str) -> bool:
    if override.startswith("-"):
        return False
    key = override.partition("=")[0].lstrip("+~")
    return key not in _OUTSIDE_CELLS and key.partition(".")[0] not in _OUTSIDE_CELLS
