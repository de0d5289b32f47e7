"""Presets of an invented model, GPU and engine, so that tests of the matrix do not depend on shipped figures."""

import types
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli

_FILES = {
    "model/bench.yaml": """
name: bench-8b
num_hidden_layers: 32
hidden_size: 4096
intermediate_size: 14336
num_attention_heads: 32
num_key_value_heads: 8
head_dim: 128
vocab_size: 128256
max_position_embeddings: 8192
max_model_len: 8192
""",
    "hardware/bench.yaml": """
name: bench-gpu
num_gpus: 2
memory_gib: 40
memory_bandwidth_gb_s: 1500
peak_tflops: 300
interconnect_gb_s: 300
idle_power_w: 50
default_power_limit_w: 400
min_power_limit_w: 100
max_power_limit_w: 400
min_sm_clock_mhz: 210
max_sm_clock_mhz: 1410
power_limit_w: null
sm_clock_mhz: null
calibration: {static_power_w: 80, memory_power_w: 120, compute_power_w: 200, sampling_power_w: 10}
""",
    "hardware/uncapped.yaml": """
defaults: [bench]
name: uncapped-gpu
min_power_limit_w: null
""",
    "engine/real.yaml": """
defaults: [bench]
clock: wall
""",
    "engine/bench.yaml": """
kind: bench_plugins.engine
clock: virtual
max_num_seqs: 8
max_num_batched_tokens: 2048
enable_prefix_caching: true
""",
    "workflow/bench.yaml": """
kind: bench_plugins.work
prompt_tokens: 1000
output_tokens: 100
""",
    "workflow/bench_solo.yaml": """
defaults: [bench]
default_users: 1
""",
    "sweep/batch.yaml": """
# @package _global_
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      engine.max_num_seqs: 1,2
      hardware.power_limit_w: 50%,100%
""",
    "sweep/seeds.yaml": """
# @package _global_
defaults:
  - override /workflow: bench_solo
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      seed: range(0,3)
""",
}

_PLUGINS = {
    "__init__.py": '"""Plug-ins found by a dotted path."""\n',
    "engine.py": """
from orchestrator.spec.engine import EngineOptions
from orchestrator.errors import InfeasibleCell

class Options(EngineOptions):
    pass

def check(cell):
    if cell.engine.tensor_parallel_size > cell.hardware.num_gpus:
        raise InfeasibleCell("needs more GPUs than the node has")

def build(cell, clock):
    raise AssertionError("no cell of these presets is run")
""",
    "torn.py": "import no_such_module",
    "broken.py": "1 / 0",
    "exits.py": "raise SystemExit(7)",
    "garbage.py": "Options = 3",
    "faulty.py": """
from orchestrator.spec.engine import EngineOptions

class Options(EngineOptions):
    pass

def check(cell):
    exit(4)
""",
    "bare.py": "",
    "unbuilt.py": "from workflows.source import WorkflowOptions as Options",
    "work.py": """
from pydantic import Field
from workflows.graph import Shared, Step, Workflow
from workflows.source import WorkflowOptions

class Options(WorkflowOptions):
    prompt_tokens: int = Field(ge=1)
    output_tokens: int = Field(ge=1)
    arrivals_s: tuple[float, ...] | None = None
    trace: str | None = None

class Source:
    def __init__(self, options):
        self.options = options
        self.arrivals_s = options.arrivals_s

    def workflow(self, index):
        prompt = (Shared("text", self.options.prompt_tokens),)
        step = Step(name="only", role="user", prompt=prompt, output_tokens=self.options.output_tokens)
        return Workflow(workflow_id=f"w{index}", tenant="a", steps=(step,))

def build(options, *, seed):
    if options.trace == "a bug":
        raise KeyError("a bug")
    if options.trace == "exit":
        exit(5)
    if options.trace == "nothing":
        return None
    if options.trace is not None:
        raise ValueError(f"trace {options.trace} cannot be read:\\n no column 'arrival_s'")
    return Source(options)
""",
}

CHOICES = ("model=bench", "hardware=bench", "engine=bench", "workflow=bench", "load.num_workflows=4")
"""Overrides that choose the presets of this module."""


def write_presets(folder: Path) -> Path:
    """Write the presets below ``folder`` and return the folder for ``--config-dir``."""
    return _write(folder / "presets", _FILES)


def write_plugins(folder: Path) -> Path:
    """Write the package ``bench_plugins`` below ``folder`` and return the folder for ``sys.path``."""
    _write(folder / "lib" / "bench_plugins", _PLUGINS)
    return folder / "lib"


def _write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip("\n"))
    return folder


Ended = tuple[int, dict[str, Any], str]
"""Exit code, last line of standard output as JSON, standard error."""


def at(presets: Path, *arguments: str) -> list[str]:
    return ["--config-dir", str(presets), *CHOICES, *arguments]


def stand_in(monkeypatch: pytest.MonkeyPatch, command: types.ModuleType) -> None:
    name = command.__name__.rpartition(".")[2]
    load, available = cli.plugins.load, cli.plugins.available

    def named(package: str) -> tuple[str, ...]:
        return ("plan", name) if package == "orchestrator.commands" else available(package)

    monkeypatch.setattr(cli.plugins, "available", named)
    monkeypatch.setattr(cli.plugins, "load", lambda package, kind: command if kind == name else load(package, kind))
