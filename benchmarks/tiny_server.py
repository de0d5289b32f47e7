"""Run ``vllm serve`` on the CPU with a Llama shape, random weights and a generated tokenizer, without downloads."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

import conf
from orchestrator.engines.vllm.checkpoint import config_json
from orchestrator.spec.model import ModelSpec

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) - 1)),  # one core for the client
}
_START_S = 240.0


def write_model(folder: Path, **shape: int) -> ModelSpec:
    """Write a checkpoint without weights: tiny Llama changed by ``shape``, with a tokenizer of words w1, w2, …."""
    from tokenizers import Tokenizer, models, pre_tokenizers  # they come with vLLM
    from transformers import PreTrainedTokenizerFast

    preset = Path(conf.__file__).parent / "model" / "tiny_llama.yaml"
    model = ModelSpec.model_validate({**yaml.safe_load(preset.read_text()), **shape})
    (folder / "config.json").write_text(json.dumps(config_json(model)))
    vocabulary = {f"w{index}": index for index in range(1, model.vocab_size)} | {"<unk>": 0}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)
    return model


@contextmanager
def tiny_server(model_folder: Path) -> Iterator[str]:
    """Start a server, yield its address, and end all its processes afterwards, also if this process is terminated."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    port = _free_port()
    command = [
        *(sys.executable, "-m", "benchmarks.vllm_cli", "serve", str(model_folder), "--served-model-name", "tiny"),
        *("--host", "127.0.0.1", "--port", str(port), "--load-format", "dummy", "--enforce-eager"),
        *("--max-model-len", "8192", "--max-num-seqs", "32", "--no-enable-prefix-caching"),
        "--disable-uvicorn-access-log",
    ]
    with (model_folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_up(server, port, model_folder / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _wait_until_up(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise SystemExit(f"vllm serve did not start:\n{log.read_text()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port
