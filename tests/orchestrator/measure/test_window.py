"""Each rule of the window, and windows that are too short."""

from types import SimpleNamespace

import numpy as np
import pytest

from orchestrator.measure.columns import Columns
from orchestrator.measure.window import Window, find_window, window_reasons


def _cell(kind: str, max_num_seqs: int = 2, warmup: float = 0.1, n_engines: int = 1, has_graphs: bool | None = None):
    alone = SimpleNamespace(engine=SimpleNamespace(max_num_seqs=max_num_seqs))
    return SimpleNamespace(
        workflow=SimpleNamespace(has_graphs=has_graphs),
        load=SimpleNamespace(kind=kind),
        engine_cells=dict.fromkeys(["main", "coder"][:n_engines], alone),
        protocol=SimpleNamespace(open_loop_warmup_share=warmup),
    )


def _requests(series, n: int):
    return series(
        "requests",
        [{"request_id": f"r{i}", "submitted_s": i, "first_token_s": i + 0.5, "finished_s": i + 3} for i in range(n)],
    )


def _steps(series, n: int, per_workflow: int = 1):
    return series(
        "steps",
        [
            {"workflow_id": f"w{i // per_workflow}", "request_id": f"r{i}", "arrival_s": i, "finished_s": i + 3}
            for i in range(n)
        ],
    )


@pytest.mark.parametrize(("max_num_seqs", "reached", "k"), [(2, 5, 2), (8, 3, 3), (64, 64, 10)])
def test_closed_loop_is_from_the_kth_first_token_to_the_kth_last_finish(series, max_num_seqs, reached, k):
    iterations = series("iterations", [{"start_s": 0, "end_s": 1, "n_running": reached}])
    window = find_window(
        _cell("closed", max_num_seqs), requests=_requests(series, 10), steps=_steps(series, 10), iterations=iterations
    )
    start_s = (k - 1) + 0.5
    end_s = (10 - k) + 3
    assert window == Window(rule="steady_state", start_s=start_s, end_s=max(start_s, end_s), k=k)


def test_the_batches_of_several_engines_add_up(series):
    rows = [{"start_s": 0, "end_s": 1, "n_running": reached} for reached in (1, 2, 3)]
    table = series("iterations", rows)._table.append_column("engine", [["main", "coder", "coder"]])
    requests, steps = _requests(series, 10), _steps(series, 10)
    ks = [
        find_window(_cell("closed", most, n_engines=2), requests=requests, steps=steps, iterations=Columns(table)).k
        for most in (8, 1)
    ]
    assert ks == [1 + 3, 2]


def test_open_loop_leaves_out_the_first_arrivals_and_ends_at_the_last(series):
    window = find_window(
        _cell("poisson", warmup=0.2),
        requests=_requests(series, 10),
        steps=_steps(series, 10),
        iterations=series("iterations", []),
    )
    assert window == Window(rule="arrivals", start_s=2.0, end_s=9.0)


def test_workflows_of_several_steps_are_measured_whole_under_any_load(series):
    window = find_window(
        _cell("poisson"),
        requests=_requests(series, 10),
        steps=_steps(series, 10, per_workflow=2),
        iterations=series("iterations", []),
    )
    assert window == Window(rule="workflows", start_s=0.0, end_s=12.0)


@pytest.mark.parametrize("load", ["closed", "poisson"])
def test_a_mix_with_workflows_is_measured_whole_though_only_single_requests_were_drawn(series, load):
    window = find_window(
        _cell(load, has_graphs=True),
        requests=_requests(series, 10),
        steps=_steps(series, 10),
        iterations=series("iterations", [{"start_s": 0, "end_s": 1, "n_running": 2}]),
    )
    assert window == Window(rule="workflows", start_s=0.0, end_s=12.0)


def test_latencies_are_of_what_began_in_the_window():
    begun_s, finished_s = np.array([0.0, 2.0, 9.0]), np.array([3.0, 6.0, 20.0])
    for rule in ("steady_state", "arrivals"):
        window = Window(rule=rule, start_s=1.0, end_s=10.0)
        assert window.samples(begun_s, finished_s).tolist() == [False, True, True]
        assert window.samples(np.zeros(3), finished_s).tolist() == [True, True, False]  # all came at once before it
    whole = Window(rule="workflows", start_s=0.5, end_s=20.0)
    assert whole.samples(begun_s, finished_s).tolist() == [True, True, True]


def test_a_short_window_is_an_inherent_reason():
    (reason,) = window_reasons(Window(rule="arrivals", start_s=1.0, end_s=4.0), 10.0)
    assert (reason.code, reason.transient) == ("window_too_short", False)
    assert "3 s" in reason.detail
    assert "10 s" in reason.detail
    assert window_reasons(Window(rule="arrivals", start_s=1.0, end_s=11.0), 10.0) == ()


def test_an_empty_window_never_counts():
    (reason,) = window_reasons(Window(rule="arrivals", start_s=1.0, end_s=1.0), 0.0)
    assert reason.code == "window_too_short"
