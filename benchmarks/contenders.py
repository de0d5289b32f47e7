"""Send one file of requests to one server with two load generators: ours, and ``vllm bench serve``."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}


def ours(base_url: str, path: Path, *, rate: float, n: int, prompts: str = "token_ids") -> dict[str, Any]:
    """Send the first ``n`` lines at ``rate`` per second through a cell of ``engine=openai``; return its metrics."""
    output = _run(
        "benchmarks.file_cell",
        f"engine.base_url={base_url}",
        f"engine.prompts={prompts}",
        "load=replay",
        f"load.num_workflows={n}",
        f"workflow.path={path}",
        f"workflow.arrivals_per_s={rate:g}",
        "protocol.open_loop_warmup_share=0",
    )
    metrics: dict[str, Any] = json.loads(output.splitlines()[-1])
    return metrics


def theirs(base_url: str, path: Path, *, rate: float, n: int, tokenizer: Path | None = None) -> dict[str, Any]:
    """Send the same lines with ``vllm bench serve`` at the same constant gaps; return the result it saves."""
    with tempfile.TemporaryDirectory() as folder:
        _run(
            "benchmarks.vllm_cli",
            *("bench", "serve", "--backend", "openai", "--base-url", base_url),
            *(
                ("--skip-tokenizer-init", "--model", "null")
                if tokenizer is None
                else ("--model", "tiny", "--tokenizer", str(tokenizer))
            ),
            *("--dataset-name", "custom", "--dataset-path", str(path), "--disable-shuffle", "--skip-chat-template"),
            *("--custom-output-len", "-1", "--num-prompts", str(n), "--request-rate", str(rate)),
            *("--burstiness", "inf", "--ignore-eos", "--temperature", "0", "--disable-tqdm"),
            *("--ready-check-timeout-sec", "0"),
            *("--save-result", "--result-dir", folder, "--result-filename", "result.json"),
        )
        result: dict[str, Any] = json.loads(Path(folder, "result.json").read_text())
    return all_completed(result, n)


def all_completed(result: dict[str, Any], n: int) -> dict[str, Any]:
    """Return the result if all ``n`` requests were answered; its metrics leave out failed ones.

    Raises:
        SystemExit: some requests failed.
    """
    if result["completed"] != n:
        raise SystemExit(f"vllm bench serve: {result['completed']} of {n} requests were answered")
    return result


def _run(module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | _OFFLINE)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}")
    return ended.stdout
