"""A server measured from a lane, by a Ray task graph and by the process of the engine."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_completions import FakeCompletions

from orchestrator.cli import main

pytestmark = pytest.mark.ray


@contextmanager
def _serving(server: FakeCompletions) -> Iterator[str]:
    """Run the server on an event loop in a thread, because the command blocks the main thread."""
    urls: list[str] = []
    up = threading.Event()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        async with server.serve() as base_url:
            urls.append(base_url)
            up.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert up.wait(10)
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


def test_cells_on_one_server_share_a_lane_and_carry_the_parents_output(tmp_path: Path, monkeypatch, capsys):
    server = FakeCompletions(ids_back=True)
    monkeypatch.chdir(tmp_path)
    with _serving(server) as base_url:
        code = main(
            [
                "-m",
                "engine=openai",
                f"engine.base_url={base_url}",
                "workflow=map_reduce_summary",
                "workflow.executor=ray,local",
                "workflow.documents=[0]",
                "workflow.output_tokens=3",
                "load.users=2",
                "load.num_workflows=2",
                "protocol.min_window_s=0",
                "protocol.idle_baseline_s=0",
                "protocol.warmup_s=0",
                "protocol.warmup_workflows=1",
                "protocol.max_send_delay_ms=10000",
                "tracking=none",
            ]
        )
    out = capsys.readouterr().out
    ended = json.loads(out.strip().splitlines()[-1])
    assert (code, ended["ok"], ended["engine_starts"]) == (0, 2, 1), out
    prompts = [body["prompt"] for body in server.bodies if isinstance(body["prompt"], list) and 101 in body["prompt"]]
    assert len(prompts) == 6  # the reduce steps, also of the warm-up; only they contain generated ids
    assert all(prompt.count(100) == prompt.count(101) == prompt.count(102) > 1 for prompt in prompts)
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/cells/*/record.json")]
    assert {record["cell"]["workflow"].get("executor", "local") for record in records} == {"ray", "local"}
    for record in records:
        assert record["cell"]["hardware"]["name"] == "unknown hardware"
        assert record["provenance"]["base_url"] == base_url
        assert [phase["name"] for phase in record["phases"]] == ["warmup", "idle", "measure", "drain"]
        assert not [key for key in record["metrics"] if "energy" in key or "power" in key]
        assert record["metrics"]["p99_workflow_ms"] > 0
