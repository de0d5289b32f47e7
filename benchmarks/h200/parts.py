"""What is measured on the lent GPU, in which order, and with which commands. None of them sets anything of the GPU."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FIRST = "first"
"""The one cell that shows whether vLLM starts here, and in which of `WAYS`."""

WAYS: tuple[tuple[str, ...], ...] = (
    (),
    ("+engine.attention_backend=TRITON_ATTN",),
    ("engine.enforce_eager=true",),
)
"""Overrides to start vLLM with, of which the first that works is kept: as it is, without FlashAttention, uncompiled."""

_BATCH = 64
_SENSOR_S = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A command, not begun with less than ``least_s`` left, and stopped after ``most_s``. Units: s.

    What is left of a part that ``goes_on`` is done by the next call.
    """

    name: str
    command: tuple[str, ...]
    least_s: float
    most_s: float
    goes_on: bool


def parts(folder: Path, way: Sequence[str] = (), also: Sequence[str] = ()) -> tuple[Part, ...]:
    """All parts in their order: the least that tells something first.

    Args:
        folder: where everything is written.
        way: how vLLM starts here, one of `WAYS`.
        also: further overrides, for rehearsals.
    """

    def first() -> Part:
        command = _sweep(folder, "reference_8b", f"engine.max_num_seqs={_BATCH}", *way, *also)
        return Part(name=FIRST, command=command, least_s=150, most_s=300, goes_on=False)

    def sweep(part: str, name: str, *overrides: str) -> Part:
        resumed = ("resume=latest", "extend=true") if _begun(folder, name) else ()
        command = _sweep(folder, name, *overrides, *way, *also, *resumed)
        return Part(name=part, command=command, least_s=120, most_s=math.inf, goes_on=True)

    def script(name: str, *arguments: str, least_s: float, most_s: float) -> Part:
        module = (sys.executable, "-m", f"benchmarks.h200.{name}", "--out", str(folder / name))
        return Part(name=name, command=(*module, *arguments), least_s=least_s, most_s=most_s, goes_on=False)

    return (
        first(),
        script("sensor", "--limit-s", str(_SENSOR_S), least_s=_SENSOR_S + 20, most_s=_SENSOR_S + 60),
        sweep("reference_8b", "reference_8b"),
        script("bare", "--max-num-seqs", str(_BATCH), *way, least_s=250, most_s=300),
        sweep("batch_h200", "batch_h200"),
        sweep("repeats", "reference_8b", "repeat=range(0,3)"),
    )


def _sweep(folder: Path, name: str, *overrides: str) -> tuple[str, ...]:
    where = (f"runs_dir={folder / 'runs'}", f"tracking.uri=sqlite:///{folder / 'mlflow.db'}")
    engine = () if any(each.startswith("engine=") for each in overrides) else ("engine=vllm",)  # else: simulated
    given = (f"+sweep={name}", *engine, *overrides, *where)
    return (sys.executable, "-m", "orchestrator", *sorted(given, key=lambda each: not each.startswith("--")))


def _begun(folder: Path, sweep: str) -> bool:
    return any((folder / "runs").glob(f"{sweep}-*/sweep.json"))
