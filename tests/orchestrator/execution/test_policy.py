import pytest

from orchestrator.errors import CellError, EnvironmentFailure, InfeasibleCell, InfrastructureError, UserError
from orchestrator.sweep.scheduler import Fail, Retry, decide


@pytest.mark.parametrize("n_attempts", [1, 2])
def test_a_loss_is_tried_again_until_the_attempts_are_used_up(n_attempts):
    assert decide(InfrastructureError("lost"), n_attempts, 3) == Retry()
    assert decide(InfrastructureError("lost"), n_attempts, n_attempts) == Fail(
        f"lost {n_attempts} times, which is max_attempts={n_attempts}"
    )


@pytest.mark.parametrize("kind", [CellError, InfeasibleCell, UserError, EnvironmentFailure])
def test_what_is_wrong_with_the_cell_is_never_repeated(kind):
    assert isinstance(decide(kind("no"), 1, 3), Fail)
