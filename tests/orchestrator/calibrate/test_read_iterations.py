"""Iterations read from records: spacing of ends, idle time, and context reconstructed from requests."""

import numpy as np
import pyarrow as pa
import pytest
from known_gpu import planned

from orchestrator.attribution.readings import Readings
from orchestrator.calibrate.errors import simulated_twin
from orchestrator.calibrate.iterations import read_iterations
from orchestrator.calibrate.power import powered_work, row_energy_j
from orchestrator.calibrate.times import VectorStepTime, group_iterations
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


def test_an_iteration_scheduled_ahead_begins_when_the_one_before_ends():
    iterations = read_iterations(decoding([0.0, 0.01, 0.1, 0.12], [0.1, 0.11, 0.121, 0.13]))
    assert iterations.time_s == pytest.approx([0.1, 0.01, 0.011, 0.009])


def test_host_time_between_iterations_counts_for_the_next_and_idle_time_does_not():
    iterations = read_iterations(decoding([0.0, 0.105, 0.5], [0.1, 0.115, 0.51], continued_tokens=[0, 1, 0]))
    assert iterations.time_s == pytest.approx([0.1, 0.015, 0.01])
    waited = read_iterations(decoding([0.0, 0.5], [0.1, 0.51], continued_tokens=[0, 0], n_waiting=[1, 0]))
    assert waited.time_s == pytest.approx([0.1, 0.41])


def test_a_row_of_several_iterations_holds_their_means():
    once = read_iterations(decoding([0.0, 0.1, 0.2], [0.1, 0.2, 0.3]))
    runs = decoding([0.0, 0.1], [0.1, 0.3], n_iterations=[1, 2], decode_tokens=[1, 2], continued_tokens=[0, 2])
    iterations = read_iterations(runs)
    assert iterations.time_s == pytest.approx([0.1, 0.1])
    assert iterations.context[1] == pytest.approx(once.context[1:].mean())
    assert iterations.tokens.tolist() == iterations.sampled.tolist() or iterations.tokens[0] == 100
    assert iterations.context[0] == 100
    assert once.context.tolist() == [100, 101, 102]


@pytest.mark.parametrize("stepping", ["step_by_step", "closed_form"])
@pytest.mark.parametrize("workflow", ["chat", "copilot"])
def test_the_schedule_is_reconstructed_from_prompts_and_times_of_requests(workflow, stepping):
    kept = series(a_cell(12, workflow), stepping=stepping)
    expected = read_iterations(kept)
    iterations = read_iterations({name: kept[name] for name in ("iterations", "requests")})
    for name in ("tokens", "context", "pairs", "prefill_pairs"):
        assert getattr(iterations, name) == pytest.approx(getattr(expected, name)), name


def test_a_late_client_moves_the_context_by_one_token_a_sequence():
    kept = series(a_cell(12), stepping="step_by_step")
    requests = kept["requests"]
    for name in ("first_token_s", "finished_s"):
        late = pa.array(requests.column(name).to_numpy() + 0.008)
        requests = requests.set_column(requests.column_names.index(name), name, late)
    expected = read_iterations(kept)
    iterations = read_iterations({"iterations": kept["iterations"], "requests": requests})
    assert iterations.context.sum() == pytest.approx(expected.context.sum(), rel=0.01)
    assert iterations.prefill_pairs.sum() == pytest.approx(expected.prefill_pairs.sum(), rel=0.01)


@pytest.mark.parametrize("batch", [8, 128])
def test_vectorised_times_and_energies_equal_those_of_the_simulated_engine(batch):
    cell = a_cell(batch, workflows=2 * batch)
    hardware = cell.gpu
    kept = series(cell, stepping="step_by_step")
    iterations, work = read_iterations(kept), ModelWork(cell.model, 1)
    assert VectorStepTime(work, hardware).iteration_s(iterations) == pytest.approx(iterations.time_s, rel=1e-6)
    nothing = Readings(t_s=np.zeros(2), energy_j=np.zeros(2))
    energy_j = row_energy_j(powered_work(iterations, work, nothing), iterations.time_s, hardware)
    assert energy_j.sum() == pytest.approx(kept["iterations"].column("energy_j").to_numpy().sum(), rel=1e-4)
    assert energy_j == pytest.approx(kept["iterations"].column("energy_j").to_numpy(), rel=0.01)


def test_a_stall_is_excluded_from_the_times_and_reported():
    ends_s = np.concatenate([[0.1], 0.1 + 0.01 * np.arange(1, 101)])
    ends_s[50:] += 0.4
    starts_s = np.concatenate([[0.0], ends_s[:-1]])
    iterations = read_iterations(decoding(starts_s.tolist(), ends_s.tolist()))
    cell = a_cell(8)
    timed = group_iterations(iterations, ModelWork(cell.model, 1))
    assert timed.stalled_share == pytest.approx(0.41 / 1.5)
    assert timed.time_s[timed.batch.has_prefill == 0] == pytest.approx(0.01)
    assert timed.share.sum() == pytest.approx(1)
