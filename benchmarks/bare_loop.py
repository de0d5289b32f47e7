"""A bare loop over vLLM's ``AsyncLLM``, as short as one can write it: what a cell on a lane is compared with.

``python -m benchmarks.bare_loop CELL.json`` loads the cell's engine with vLLM's own scheduler, then, for each line on
standard input (a number: the repeat of the cell to run), answers its requests and prints one line of JSON.
"""

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path

from orchestrator.engines.vllm.arguments import engine_arguments, set_environment
from orchestrator.serving.gc import settle_memory
from orchestrator.spec.cell import Cell
from orchestrator.spec.workload import source_of
from workflows.execute import calls_of, request_of
from workflows.request import prompt_token_ids


async def serve(cell: Cell) -> None:
    """Load, then serve the lines of standard input to their end."""
    set_environment(cell)
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_arguments(cell), disable_log_stats=True))
    print(json.dumps({"ready": True}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        prompts = _prompts(cell.model_copy(update={"repeat": int(line)}))
        await llm.reset_prefix_cache()
        print(json.dumps(await _run(llm, prompts, cell.load.users)), flush=True)
    llm.shutdown()


def _prompts(cell: Cell) -> list[tuple[list[int], int]]:
    """Token ids and output length of every request of a cell whose workflows have one step."""
    source, n_workflows = source_of(cell)
    found = []
    for workflow in map(source.workflow, range(n_workflows)):
        (call,) = calls_of(workflow, 0.0).values()
        request = request_of(call, {})
        found.append((prompt_token_ids(request, cell.model.vocab_size), request.output_tokens))
    return found


async def _run(llm, prompts: list[tuple[list[int], int]], users: int) -> dict[str, float]:
    """Users who each send the next request when their last one is answered."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    waiting, names = iter(prompts), itertools.count()
    n_tokens = 0

    async def user() -> None:
        nonlocal n_tokens
        for token_ids, n_output in waiting:
            parameters = SamplingParams(
                temperature=0,
                max_tokens=n_output,
                ignore_eos=True,
                detokenize=False,
                output_kind=RequestOutputKind.DELTA,
            )
            async for output in llm.generate({"prompt_token_ids": token_ids}, parameters, str(next(names))):
                n_tokens += len(output.outputs[0].token_ids)

    settle_memory()
    began_s = time.monotonic()
    await asyncio.gather(*(user() for _ in range(users)))
    return {"output_tokens": n_tokens, "seconds": time.monotonic() - began_s}


if __name__ == "__main__":
    asyncio.run(serve(Cell.model_validate_json(Path(sys.argv[1]).read_text())))
