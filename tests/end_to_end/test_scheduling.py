"""Chats beside map-reduce summaries under load: what each scheduling policy does to either, paired by seed.

After Parrot (OSDI'24, figure 18), which reports shorter times for both beside each other; docs/scheduling.md.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.runner.local import run_cell

pytestmark = pytest.mark.slow

REPEATS = 10
POISSON = ("load=poisson", "load.request_rate=1.0", "load.num_workflows=128")
CLOSED = ("load=closed", "load.users=64", "load.num_workflows=192")
CHAT_TTFT_S, CHAT_TPOT_S = 2.0, 0.1


@dataclass(frozen=True)
class Outcome:
    """One array a figure, an entry a repeat."""

    mean_workflow_s: npt.NDArray[np.float64]
    mean_map_reduce_s: npt.NDArray[np.float64]
    mean_chat_s: npt.NDArray[np.float64]
    chat_goodput_ratio: npt.NDArray[np.float64]
    longest_chat_ttft_s: npt.NDArray[np.float64]


@cache
def outcome(policy: str, load: tuple[str, ...]) -> Outcome:
    policies = (f"engine.scheduling_policy={policy}", "engine.max_num_seqs=16", "workflow.tenants.chat.priority=-1")
    repeats = f"repeat=range(0,{REPEATS})"
    expansion = compose(("-m", "workflow=composite", "hardware=a100_40gb_sxm", *policies, repeats, *load))
    assert expansion is not None
    cells = sorted(build(expansion)[0].cells, key=lambda cell: cell.repeat)
    return Outcome(*np.array([_figures(cell) for cell in cells]).T)


def _figures(cell):
    series = run_cell(cell).series
    steps, requests = series["steps"].to_pandas(), series["requests"].to_pandas()
    flows = steps.groupby("workflow_id").agg(
        tenant=("tenant", "first"), arrival_s=("arrival_s", "first"), finished_s=("finished_s", "max")
    )
    time_s = flows.finished_s - flows.arrival_s
    chat = requests[requests.tenant == "chat"]
    ttft_s = chat.first_token_s - chat.submitted_s
    tpot_s = (chat.finished_s - chat.first_token_s) / np.maximum(chat.output_tokens - 1, 1)
    return (
        time_s.mean(),
        time_s[flows.tenant == "map_reduce"].mean(),
        time_s[flows.tenant == "chat"].mean(),
        ((ttft_s <= CHAT_TTFT_S) & (tpot_s <= CHAT_TPOT_S)).mean(),
        ttft_s.max(),
    )


def upper_bound(differences: npt.NDArray[np.float64]) -> float:
    """Upper end of the 95 % interval of the mean difference."""
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return float(differences.mean() + half)


@pytest.mark.parametrize(("load", "share"), [(POISSON, 0.9), (CLOSED, 0.9)], ids=["poisson", "closed"])
def test_mean_workflow_time_is_shorter_by_what_lies_ahead_than_by_arrival(load, share):
    fcfs, workflow = outcome("fcfs", load), outcome("workflow", load)
    assert upper_bound(workflow.mean_workflow_s - share * fcfs.mean_workflow_s) < 0  # by more than a tenth


@pytest.mark.parametrize("load", [POISSON, CLOSED], ids=["poisson", "closed"])
def test_background_chat_is_not_the_one_who_pays(load):
    fcfs, workflow = outcome("fcfs", load), outcome("workflow", load)
    assert upper_bound(workflow.mean_chat_s - fcfs.mean_chat_s) < 0
    assert upper_bound(fcfs.chat_goodput_ratio - workflow.chat_goodput_ratio) < 0


def test_with_a_queue_the_summaries_are_faster_too():
    fcfs, workflow = outcome("fcfs", POISSON), outcome("workflow", POISSON)
    assert upper_bound(workflow.mean_map_reduce_s - fcfs.mean_map_reduce_s) < 0


def test_no_chat_waits_longer_for_its_first_token_than_the_longest_under_fcfs():
    fcfs, workflow = outcome("fcfs", POISSON), outcome("workflow", POISSON)
    assert workflow.longest_chat_ttft_s.max() < fcfs.longest_chat_ttft_s.max()


def test_a_priority_for_chat_keeps_chat_fast():
    fcfs, priority = outcome("fcfs", POISSON), outcome("priority", POISSON)
    assert upper_bound(priority.mean_chat_s - fcfs.mean_chat_s) < 0
