"""What a reader makes of iterations: spacing of their ends, idle time, and what was read where nobody kept it."""

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.h200.fit_error import simulated_twin
from benchmarks.h200.fit_iterations import iterations_of
from benchmarks.h200.fit_power import powered_work, row_energy_j
from benchmarks.h200.fit_time import StepTimes, timed_work
from benchmarks.h200.fit_truth import planned
from orchestrator.attribution.readings import Readings
from orchestrator.costmodel.work import ModelWork
from orchestrator.records.series import ITERATIONS, REQUESTS
from orchestrator.runner.local import run_cell


def a_cell(batch, workflow="chat", *, workflows=40):
    load = ("load=closed", f"load.users={batch}", f"load.num_workflows={workflows}", f"engine.max_num_seqs={batch}")
    return planned(f"workflow={workflow}", *load, "protocol.warmup_s=0", "protocol.max_repetitions=1")[0]


def series(cell, **options):
    return run_cell(simulated_twin(cell, cell.gpu, record_scheduled=True, **options)).series


def table(schema, **columns):
    n = len(next(iter(columns.values())))
    return pa.table({field.name: pa.array(columns.get(field.name, [None] * n), field.type) for field in schema})


def decoding(start_s, end_s, **columns):
    """Iterations of one request that decodes from the second on."""
    n = len(start_s)
    plain = {
        "n_iterations": [1] * n,
        "n_waiting": [0] * n,
        "prefill_tokens": [100] + [0] * (n - 1),
        "decode_tokens": [1] * n,
        "continued_tokens": [0] + [1] * (n - 1),
    }
    requests = table(
        REQUESTS,
        request_id=["r"],
        prompt_tokens=[100],
        cached_tokens=[0],
        scheduled_s=[start_s[0]],
        first_token_s=[end_s[0] + 1e-4],
        finished_s=[end_s[-1] + 1e-4],
    )
    return {"iterations": table(ITERATIONS, start_s=start_s, end_s=end_s, **{**plain, **columns}), "requests": requests}


def test_an_iteration_planned_while_another_runs_begins_when_that_ends():
    found = iterations_of(decoding([0.0, 0.01, 0.1, 0.12], [0.1, 0.11, 0.121, 0.13]))
    assert found.time_s == pytest.approx([0.1, 0.01, 0.011, 0.009])


def test_what_the_host_takes_between_iterations_is_part_of_the_next_and_idle_time_is_not():
    found = iterations_of(decoding([0.0, 0.105, 0.5], [0.1, 0.115, 0.51], continued_tokens=[0, 1, 0]))
    assert found.time_s == pytest.approx([0.1, 0.015, 0.01])
    waited = iterations_of(decoding([0.0, 0.5], [0.1, 0.51], continued_tokens=[0, 0], n_waiting=[1, 0]))
    assert waited.time_s == pytest.approx([0.1, 0.41])


def test_a_row_of_many_iterations_is_read_as_one_of_each():
    once = iterations_of(decoding([0.0, 0.1, 0.2], [0.1, 0.2, 0.3]))
    runs = decoding([0.0, 0.1], [0.1, 0.3], n_iterations=[1, 2], decode_tokens=[1, 2], continued_tokens=[0, 2])
    found = iterations_of(runs)
    assert found.time_s == pytest.approx([0.1, 0.1])
    assert found.context[1] == pytest.approx(once.context[1:].mean())
    assert found.tokens.tolist() == found.sampled.tolist() or found.tokens[0] == 100
    assert found.context[0] == 100
    assert once.context.tolist() == [100, 101, 102]


@pytest.mark.parametrize("stepping", ["step_by_step", "closed_form"])
@pytest.mark.parametrize("workflow", ["chat", "copilot"])
def test_prompts_and_times_of_requests_tell_what_the_scheduler_did(workflow, stepping):
    kept = series(a_cell(12, workflow), stepping=stepping)
    told = iterations_of(kept)
    found = iterations_of({name: kept[name] for name in ("iterations", "requests")})
    for name in ("tokens", "context", "pairs", "prefill_pairs"):
        assert getattr(found, name) == pytest.approx(getattr(told, name)), name


def test_what_clients_see_late_moves_a_context_by_a_token_a_sequence():
    kept = series(a_cell(12), stepping="step_by_step")
    requests = kept["requests"]
    for name in ("first_token_s", "finished_s"):
        late = pa.array(requests.column(name).to_numpy() + 0.008)
        requests = requests.set_column(requests.column_names.index(name), name, late)
    told = iterations_of(kept)
    found = iterations_of({"iterations": kept["iterations"], "requests": requests})
    assert found.context.sum() == pytest.approx(told.context.sum(), rel=0.01)
    assert found.prefill_pairs.sum() == pytest.approx(told.prefill_pairs.sum(), rel=0.01)


@pytest.mark.parametrize("batch", [8, 128])
def test_times_and_energies_of_many_iterations_are_the_simulators_own(batch):
    cell = a_cell(batch, workflows=2 * batch)
    hardware = cell.gpu
    kept = series(cell, stepping="step_by_step")
    iterations, work = iterations_of(kept), ModelWork(cell.model, 1)
    assert StepTimes(work, hardware).many_s(iterations) == pytest.approx(iterations.time_s, rel=1e-6)
    nothing = Readings(t_s=np.zeros(2), energy_j=np.zeros(2))
    energy_j = row_energy_j(powered_work(iterations, work, nothing), iterations.time_s, hardware)
    assert energy_j.sum() == pytest.approx(kept["iterations"].column("energy_j").to_numpy().sum(), rel=1e-4)
    assert energy_j == pytest.approx(kept["iterations"].column("energy_j").to_numpy(), rel=0.01)


def test_a_stall_is_left_out_of_the_times_and_told():
    ends_s = np.concatenate([[0.1], 0.1 + 0.01 * np.arange(1, 101)])
    ends_s[50:] += 0.4
    starts_s = np.concatenate([[0.0], ends_s[:-1]])
    iterations = iterations_of(decoding(starts_s.tolist(), ends_s.tolist()))
    cell = a_cell(8)
    timed = timed_work(iterations, ModelWork(cell.model, 1))
    assert timed.stalled_share == pytest.approx(0.41 / 1.5)
    assert timed.time_s[timed.batch.has_prefill == 0] == pytest.approx(0.01)
    assert timed.share.sum() == pytest.approx(1)
