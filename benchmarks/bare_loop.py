"""The shortest loop over vLLM's ``AsyncLLM``, with which a cell on a lane is compared, in a process of its own.

``python -m benchmarks.bare_loop CELL.json`` loads the cell's engine with vLLM's own scheduler. Each line on standard
input is a repeat of the cell: its requests are sent, and one line of JSON is printed.
"""

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from orchestrator.engines.vllm.arguments import engine_arguments, set_environment
from orchestrator.serving.gc import settle_memory
from orchestrator.spec.cell import Cell
from orchestrator.spec.workload import source_of
from workflows.execute import calls_of, request_of
from workflows.request import prompt_token_ids

_CLOSE_TIMEOUT_S = 30.0


class BareProcess:
    """The process of a bare loop, whose engine is loaded when the object is created.

    Every method raises `SystemExit` if the process has ended.
    """

    def __init__(self, cell: Cell, limit_s: float | None = None) -> None:
        """Start the process; it is killed after ``limit_s``."""
        start_s = time.monotonic()
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "cell.json"
        path.write_text(cell.model_dump_json())
        command = [sys.executable, "-m", "benchmarks.bare_loop", str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._killer = None if limit_s is None else threading.Timer(limit_s, self._process.kill)
        if self._killer is not None:
            self._killer.daemon = True
            self._killer.start()
        try:
            self._answer()
        except BaseException:  # an interrupt too: the process must not stay behind
            self._process.kill()
            self.close()
            raise
        self.start_s = time.monotonic() - start_s

    def run(self, repeat: int) -> float:
        """Run a repeat and return its output tokens per second."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{repeat}\n")
        self._process.stdin.flush()
        answer = self._answer()
        return float(answer["output_tokens"] / answer["seconds"])

    def close(self) -> None:
        """End the process."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(_CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._killer is not None:
            self._killer.cancel()
        self._folder.cleanup()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit("the bare loop ended")


async def serve(cell: Cell) -> None:
    """Load the engine, then serve the lines of standard input."""
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
    """Return token ids and output length of every request of a cell whose workflows have one step."""
    source, n_workflows = source_of(cell)
    prompts = []
    for workflow in map(source.workflow, range(n_workflows)):
        (call,) = calls_of(workflow, 0.0).values()
        request = request_of(call, {})
        prompts.append((prompt_token_ids(request, cell.model.vocab_size), request.output_tokens))
    return prompts


async def _run(llm, prompts: list[tuple[list[int], int]], users: int) -> dict[str, float]:
    """Run users that each send their next request when the last one is answered."""
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
    start_s = time.monotonic()
    await asyncio.gather(*(user() for _ in range(users)))
    return {"output_tokens": n_tokens, "seconds": time.monotonic() - start_s}


if __name__ == "__main__":
    asyncio.run(serve(Cell.model_validate_json(Path(sys.argv[1]).read_text())))
