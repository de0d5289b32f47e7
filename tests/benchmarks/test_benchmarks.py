"""The benchmarks run and show their results; speed is not asserted."""

import pytest

from benchmarks.page import Measured, page
from benchmarks.rate import Rate, rate_of
from benchmarks.run import CONTENDERS, contend
from benchmarks.single_process import ComposeCost, Replay, compose_cost, replay


def test_a_rate_counts_from_the_first_end_to_the_last():
    assert rate_of([3.0, 2.0, 2.5, 4.0], start_s=0.0, end_s=5.0) == Rate(n_cells=4, cells_per_s=1.5, wall_s=5.0)


def test_the_page_holds_medians_and_ratios():
    rates = {name: [Rate(100, 100.0 * scale, 2.0) for scale in (1, 3, 2)] for name in ("joulegrid", "joulegrid_mlflow")}
    rates |= {"tune": [Rate(100, 20.0, 9.0)] * 3, "joblib": [Rate(10, 5.0, 4.0)] * 3}
    assert rates.keys() == CONTENDERS.keys()
    replays = {"closed_form": Replay("closed_form", 19366, 137156, 2.0, 1.0)}
    text = page(Measured("a machine", 2, rates, replays, ComposeCost(120, 7.0, 8.25, 60.0)))
    assert "| Ray Tune, `reuse_actors=True`, no loggers | 100 | 20 (20 to 20) | 10 | 9.0 |" in text
    assert "Ours over Ray Tune, round by round: 5, 15, 10." in text
    assert "no tracking | 100 | 200 (100 to 300) | 1 | 2.0 |" in text
    assert "| `closed_form` | 19,366 | 137,156 | 9,683 | 19,366 |" in text
    assert "| the same, cells validated and identified | 8.2 |" in text


def test_a_trace_is_replayed_in_either_stepping():
    few = ("load.num_workflows=20",)
    jumped, stepped = replay("closed_form", *few), replay("step_by_step", *few)
    assert jumped.n_requests == stepped.n_requests == 20
    assert jumped.n_iterations == stepped.n_iterations > 20


@pytest.mark.slow
def test_composing_is_measured():
    cost = compose_cost(n_hydra=2)
    assert cost.n_cells == 120
    assert 0 < cost.expanded_ms < cost.validated_ms
    assert cost.hydra_ms > 0


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("flags", [(), ("mlflow",)])
def test_trivial_cells_run_through_the_whole_of_joulegrid(flags):
    assert contend("joulegrid_cells", 5, 1, *flags).n_cells == 5
