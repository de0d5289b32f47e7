"""The series ``scheduled`` of the simulated engine with ``record_scheduled``."""

import asyncio
import itertools

import numpy as np
import pytest
from simulated_cells import a_cell, a_request, with_blocks

from orchestrator.engines import simulated
from orchestrator.measure.columns import Columns
from orchestrator.runner.virtual_loop import run_virtual
from workflows.clock import sleep_until

ARRIVALS = [
    (0.1 * i, a_request(f"r{i}", ("shared", 64), (f"p{i}", 150 + 40 * i), output_tokens=30 + 7 * i)) for i in range(6)
]


def _ran(n_blocks=4000, **options):
    cell = a_cell(max_num_seqs=4, max_num_batched_tokens=256, **options)

    async def main(clock):
        engine = with_blocks(simulated.build(cell, clock), n_blocks)

        async def one(arrival_s, request):
            await sleep_until(clock, arrival_s)
            return await engine.generate(request)

        completions = await asyncio.gather(*(one(*arrival) for arrival in ARRIVALS))
        await engine.close()
        return completions, await engine.series()

    return run_virtual(main)


@pytest.mark.parametrize("stepping", ["closed_form", "step_by_step"])
@pytest.mark.parametrize("n_blocks", [4000, 40], ids=["enough blocks", "preemptions"])
def test_scheduled_tokens_add_up_to_the_iterations(stepping, n_blocks):
    completions, series = _ran(n_blocks, record_scheduled=True, stepping=stepping)
    assert (sum(done.n_preemptions for done in completions) > 0) == (n_blocks == 40)
    scheduled, iterations = Columns(series["scheduled"]), Columns(series["iterations"])
    row = scheduled.floats("iteration").astype(int)
    for name in ("prefill_tokens", "decode_tokens"):
        np.testing.assert_array_equal(np.bincount(row, scheduled.floats(name)), iterations.floats(name))
    np.testing.assert_array_equal(np.bincount(row), iterations.floats("n_running"))
    sampled = dict.fromkeys((f"r{i}" for i in range(6)), 0.0)
    for request, tokens in zip(scheduled.values("request_id"), scheduled.values("decode_tokens"), strict=True):
        sampled[request] += tokens
    assert sampled == {done.request_id: done.output_tokens for done in completions}


def test_a_request_continues_where_it_stopped():
    _, series = _ran(record_scheduled=True)
    scheduled = series["scheduled"].to_pylist()
    mine = [row for row in scheduled if row["request_id"] == "r3"]
    assert mine[0]["context_tokens"] == 64  # hit in the prefix cache
    for before, after in itertools.pairwise(mine):
        computed = before["prefill_tokens"] or before["decode_tokens"]
        assert after["context_tokens"] == before["context_tokens"] + computed


def test_without_the_option_there_is_no_series_and_the_cell_id_is_unchanged():
    assert set(_ran()[1]) == {"iterations"}
    assert a_cell(record_scheduled=False).cell_id == a_cell().cell_id
    assert a_cell(record_scheduled=True).cell_id != a_cell().cell_id
