"""Energy of a tenant alone, and its share beside another tenant.

Alone, a tenant pays for all weights and all static power, so it costs more than its share. Without the tenant, only its
own work is saved: less than its share. The share lies between the two.
"""

import asyncio
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.attribution_truth import composed, shown
from orchestrator.attribution.attribute import Attribution, attribute
from orchestrator.engines import simulated
from orchestrator.runner.virtual_loop import run_virtual
from orchestrator.spec.cell import Cell
from workflows.clock import Clock, sleep_until
from workflows.request import Request, Segment

CELL = composed("workflow=chat", "engine.max_num_seqs=64")
Arrivals = Sequence[tuple[float, Request]]


def _request(tenant: str, index: int, n_prompt: int, n_output: int) -> Request:
    name = f"{tenant}-{index}"
    return Request(
        request_id=name, workflow_id=name, tenant=tenant, step="answer", role="model",
        prompt=(Segment(name, n_prompt),), output_tokens=n_output,
    )  # fmt: skip


def _arrivals(tenant: str, seed: int, n_prompt: int, n_output: int) -> Arrivals:
    times_s = 2.0 + np.sort(np.random.default_rng(seed).uniform(0, 30, 60))
    return [(t_s, _request(tenant, index, n_prompt, n_output)) for index, t_s in enumerate(times_s.tolist())]


def _attributed(cell: Cell, arrivals: Arrivals) -> Attribution:
    async def main(clock: Clock) -> dict[str, pa.Table]:
        engine = simulated.build(cell, clock)

        async def one(arrival_s: float, request: Request) -> None:
            await sleep_until(clock, arrival_s)
            await engine.generate(request)

        await asyncio.gather(*(one(*arrival) for arrival in arrivals))
        await engine.close()
        return await engine.series()

    requests = pa.table({"request_id": [request.request_id for _, request in arrivals]})
    attribution = attribute(cell, shown(cell, {**run_virtual(main), "requests": requests}))
    assert attribution is not None
    return attribution


def _energy_j(attribution: Attribution) -> np.ndarray:
    return attribution.requests.prefill_j + attribution.requests.decode_j


@pytest.mark.parametrize("other", [(2000, 50), (200, 400)], ids=["beside long prompts", "beside long answers"])
def test_a_share_lies_between_what_is_saved_without_a_tenant_and_what_it_costs_alone(other):
    chats, others = _arrivals("chat", 0, 500, 200), _arrivals("other", 1, *other)
    together = _attributed(CELL, [*chats, *others])
    alone_j, others_alone_j = (_energy_j(_attributed(CELL, mine)).sum() for mine in (chats, others))
    energy_j = _energy_j(together)
    share_j, total_j = energy_j[: len(chats)].sum(), energy_j.sum()
    assert total_j - others_alone_j < 0.98 * share_j
    assert share_j < 0.95 * alone_j
    assert alone_j < total_j < alone_j + others_alone_j
    assert together.total_j == pytest.approx(total_j + together.idle_j + together.residual_j)
