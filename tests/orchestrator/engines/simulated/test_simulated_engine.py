import asyncio

import pytest
from simulated_cells import a_cell, a_request, answers

from orchestrator.costmodel.memory import kv_capacity_blocks
from orchestrator.engines import simulated
from orchestrator.errors import CellError, InfeasibleCell
from orchestrator.records.series import ITERATIONS
from orchestrator.runner.virtual_loop import run_virtual
from workflows.clock import MonotonicClock, sleep_until


def test_a_request_alone_is_one_prefill_and_then_decode_steps():
    [completion], runs = answers(a_cell(), [(2.5, a_request("r", ("a", 1000), output_tokens=50))])
    assert runs.schema == ITERATIONS
    assert completion.submitted_s == completion.scheduled_s == 2.5
    assert runs["start_s"][0].as_py() == 2.5
    assert completion.first_token_s == runs["end_s"][0].as_py()
    assert completion.finished_s == runs["end_s"][-1].as_py()
    assert (runs["prefill_tokens"][0].as_py(), runs["decode_tokens"][0].as_py()) == (1000, 1)
    assert sum(runs["decode_tokens"].to_pylist()) == 50
    assert sum(runs["continued_tokens"].to_pylist()) == 49
    assert completion.prefill_energy_j == runs["energy_j"][0].as_py()


def test_requests_of_one_instant_share_their_first_iteration():
    _, runs = answers(a_cell(), [(1.0, a_request(f"r{i}", (f"a{i}", 100))) for i in range(5)])
    assert runs["n_running"][0].as_py() == 5
    assert runs["prefill_tokens"][0].as_py() == 500


def test_a_request_in_mid_run_joins_at_the_end_of_the_iteration_in_flight():
    long = a_request("long", ("a", 100), output_tokens=100)
    [alone], runs_alone = answers(a_cell(stepping="step_by_step"), [(0.0, long)])
    ends_s = runs_alone["end_s"].to_pylist()
    arrival_s = (ends_s[41] + ends_s[42]) / 2
    [_, late], runs = answers(a_cell(), [(0.0, long), (arrival_s, a_request("late", ("b", 10)))])
    assert late.scheduled_s == pytest.approx(ends_s[42], rel=1e-12)
    assert late.submitted_s == arrival_s
    before = [
        n
        for n, end_s in zip(*(runs[c].to_pylist() for c in ("n_iterations", "end_s")), strict=True)
        if end_s <= late.scheduled_s
    ]
    assert sum(before) == 43
    assert alone.finished_s < runs["end_s"][-1].as_py()


def test_a_request_at_the_instant_an_iteration_ends_is_in_the_next():
    """For example, a user sends the next turn at the moment the last one is complete."""

    async def main(clock):
        engine = simulated.build(a_cell(), clock)

        async def turns():
            first = await engine.generate(a_request("r1", ("a", 50), output_tokens=9))
            second = await engine.generate(a_request("r2", ("a", 50), ("r1", 9), ("b", 20)))
            return first, second

        (first, second), _ = await asyncio.gather(turns(), engine.generate(a_request("x", ("c", 5), output_tokens=90)))
        return first, second

    first, second = run_virtual(main)
    assert second.submitted_s == second.scheduled_s == first.finished_s
    assert second.cached_tokens == 48  # of the 58 tokens whose keys and values exist, whole blocks of 16


def test_a_cancelled_request_leaves_and_its_blocks_are_free_again():
    async def main(clock):
        engine = simulated.build(a_cell(), clock)
        running = asyncio.create_task(engine.generate(a_request("r1", ("a", 5000), output_tokens=1000)))
        await sleep_until(clock, 0.5)
        running.cancel()
        other = await engine.generate(a_request("r2", ("b", 10), output_tokens=3))
        return other, (await engine.series())["iterations"]

    other, runs = run_virtual(main)
    assert other.finished_s < 1
    assert runs["kv_usage_ratio"][-1].as_py() == pytest.approx(1 / kv_capacity_blocks(a_cell()))  # r2's one block
    assert runs["n_running"][-1].as_py() == 1


def test_a_waiting_request_can_be_cancelled():
    async def main(clock):
        engine = simulated.build(a_cell(max_num_seqs=1), clock)
        first = asyncio.create_task(engine.generate(a_request("r1", ("a", 10), output_tokens=100)))
        waiting = asyncio.create_task(engine.generate(a_request("r2", ("b", 10), output_tokens=100)))
        await sleep_until(clock, 0.1)
        waiting.cancel()
        await first
        return (await engine.series())["iterations"]

    assert sum(run_virtual(main)["decode_tokens"].to_pylist()) == 100


def test_energy_is_divided_by_the_work_of_each_request():
    requests = [a_request("small", ("a", 100), output_tokens=50), a_request("large", ("b", 900), output_tokens=50)]
    (small, large), runs = answers(a_cell(), [(0.0, request) for request in requests])
    assert large.prefill_energy_j > small.prefill_energy_j
    assert large.decode_energy_j > small.decode_energy_j
    total_j = sum(c.prefill_energy_j + c.decode_energy_j for c in (small, large))
    assert total_j == pytest.approx(sum(runs["energy_j"].to_pylist()), rel=1e-13)
    for name in ("prefill_energy_j", "decode_energy_j"):
        assert sum(getattr(c, name) for c in (small, large)) == pytest.approx(sum(runs[name].to_pylist()), rel=1e-13)


def test_energy_stays_exact_over_many_iterations():
    arrivals = [(i * 1.7, a_request(f"r{i}", (f"a{i}", 40), output_tokens=700 + i)) for i in range(40)]
    completions, runs = answers(a_cell(max_num_seqs=4), arrivals)
    assert sum(runs["n_iterations"].to_pylist()) > 5000
    total_j = sum(c.prefill_energy_j + c.decode_energy_j for c in completions)
    assert total_j == pytest.approx(sum(runs["energy_j"].to_pylist()), rel=1e-12)


@pytest.mark.parametrize(
    ("request_", "options", "message"),
    [
        (a_request("r", ("a", 0)), {}, "request r: prompt and output must have at least 1 token, got 0 and 5"),
        (a_request("r", ("a", 9), output_tokens=0), {}, "at least 1 token, got 9 and 0"),
        (a_request("r", ("a", 131072)), {}, "131072 prompt and 5 output tokens exceed max_model_len 131072"),
        (
            a_request("r", ("a", 9000)),
            {"enable_chunked_prefill": False},
            "a prompt of 9000 tokens exceeds max_num_batched_tokens 8192, and chunked prefill is off",
        ),
    ],
)
def test_requests_that_can_never_run_are_refused(request_, options, message):
    with pytest.raises(CellError, match=message):
        answers(a_cell(**options), [(0.0, request_)])


def test_a_request_larger_than_the_cache_is_refused():
    with pytest.raises(CellError, match="160 prompt and 5 output tokens exceed the KV cache's 160"):
        answers(a_cell(), [(0.0, a_request("r", ("a", 160)))], n_blocks=10)


def test_ids_in_flight_cannot_be_used_again_nor_read():
    with pytest.raises(CellError, match="request r is already in flight"):
        answers(a_cell(), [(0.0, a_request("r", ("a", 10))), (0.0, a_request("r", ("a", 10)))])
    with pytest.raises(CellError, match="request s: its prompt holds the output of r, which is not finished"):
        answers(a_cell(), [(0.0, a_request("r", ("a", 10))), (0.0, a_request("s", ("r", 3)))])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensor_parallel_size": 16}, "tensor_parallel_size 16 needs 16 GPUs on one node; NVIDIA H100 .* have 8"),
        ({"tensor_parallel_size": 3}, "tensor_parallel_size 3 must divide the 32 attention heads"),
        ({"model": "llama3_1_70b"}, r"needs 131.4 GiB of weights on each of 1 GPUs; .* gives 72.0 GiB \(80 GiB x"),
        (
            {"model": "llama3_1_70b", "hardware": "a100_40gb_sxm", "tensor_parallel_size": 4},
            r"holds \d+ tokens, fewer than one request of max_model_len 131072: lower max_model_len",
        ),
        (
            {"max_num_seqs": 16, "max_num_batched_tokens": 8},
            r"max_num_batched_tokens \(8\) must be at least max_num_seqs \(16\)",
        ),
    ],
)
def test_cells_that_could_never_start_are_infeasible(changes, message):
    with pytest.raises(InfeasibleCell, match=message):
        simulated.check(a_cell(**changes))


@pytest.mark.parametrize("hardware", ["a100_40gb_sxm", "a100_80gb_sxm", "h100_sxm", "h200_sxm"])
@pytest.mark.parametrize(
    ("model", "n_gpus"),
    [("llama2_7b", 1), ("llama2_13b", 1), ("llama2_70b", 8), ("llama3_1_8b", 1), ("llama3_1_70b", 8)],
)
def test_every_preset_of_a_model_runs_on_every_gpu(hardware, model, n_gpus):
    simulated.check(a_cell(hardware=hardware, model=model, tensor_parallel_size=n_gpus))


def test_a_tenth_of_a_second_on_the_wall_clock_takes_that_long():
    async def main():
        clock = MonotonicClock()
        engine = simulated.build(a_cell(clock="wall"), clock)
        began_s = clock.now_s()

        async def late():
            await asyncio.sleep(0.02)
            return await engine.generate(a_request("late", ("b", 20), output_tokens=3))

        first, second = await asyncio.gather(engine.generate(a_request("r", ("a", 100), output_tokens=15)), late())
        return began_s, clock.now_s(), first, second, (await engine.series())["iterations"]

    began_s, ended_s, first, second, runs = asyncio.run(main())
    assert began_s <= first.submitted_s <= first.scheduled_s < first.first_token_s < first.finished_s <= ended_s
    assert first.submitted_s < second.submitted_s <= second.scheduled_s < second.finished_s
    assert sum(runs["decode_tokens"].to_pylist()) == 18
    starts_s, ends_s = runs["start_s"].to_pylist(), runs["end_s"].to_pylist()
    assert starts_s[1:] == ends_s[:-1]  # no gaps while there is work, however late the timers are
