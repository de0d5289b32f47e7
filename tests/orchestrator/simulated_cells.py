"""Small simulated engines, and workloads for them."""

import asyncio
from pathlib import Path

import yaml

from orchestrator.costmodel.cost import CostModel
from orchestrator.engines import simulated
from orchestrator.engines.simulated.core import EngineCore
from orchestrator.engines.simulated.kv_cache import KvCache
from orchestrator.runner.virtual_loop import run_virtual
from orchestrator.spec.cell import Cell
from workflows.clock import sleep_until
from workflows.request import Request, Segment

CONF = Path(__file__).parents[2] / "conf"


def a_cell(*, model="llama3_1_8b", hardware="h100_sxm", model_changes=None, hardware_changes=None, **options):
    def preset(name):
        return yaml.safe_load((CONF / f"{name}.yaml").read_text())

    return Cell.model_validate(
        {
            "model": {**preset(f"model/{model}"), **(model_changes or {})},
            "hardware": {**preset(f"hardware/{hardware}"), **(hardware_changes or {})},
            "engine": {**preset("engine/simulated"), **options},
            "workflow": {**preset("workflow/chat")},
            "load": {"kind": "closed", "users": 1, "num_workflows": 1},
        }
    )


def a_request(name, *spans, output_tokens=5):
    prompt = tuple(Segment(content, n_tokens) for content, n_tokens in spans)
    return Request(
        request_id=name, workflow_id="w", tenant="t", step="s", role="r", prompt=prompt, output_tokens=output_tokens
    )


def with_blocks(engine, n_blocks):
    """Replace the KV cache of the engine by one of ``n_blocks`` and return the engine."""
    options = engine._cell.engine
    cache = KvCache(n_blocks, options.block_size, prefix_caching=options.enable_prefix_caching)
    costs = CostModel(engine._cell.model, engine._cell.gpu, options.tensor_parallel_size)
    engine._core = EngineCore(
        options, costs, cache, engine._clock, options.stepping,
        origin_s=engine._clock.now_s(), record_scheduled=options.record_scheduled,
    )  # fmt: skip
    engine._capacity_tokens = n_blocks * options.block_size
    return engine


def answers(cell, arrivals, n_blocks=None):
    """Return the completions of ``arrivals`` (pairs of time and request) in order, and the table of iterations."""

    async def main(clock):
        engine = simulated.build(cell, clock)
        if n_blocks is not None:
            with_blocks(engine, n_blocks)

        async def one(arrival_s, request):
            await sleep_until(clock, arrival_s)
            return await engine.generate(request)

        completions = await asyncio.gather(*(one(*arrival) for arrival in arrivals))
        await engine.close()
        return completions, (await engine.series())["iterations"]

    return run_virtual(main)


def costs(n_gpus=1, **changes):
    cell = a_cell(**changes)
    return CostModel(cell.model, cell.hardware, n_gpus)
