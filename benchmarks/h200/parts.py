"""The parts of the measurements: commands in their order. None of them changes a setting of the GPU."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FIRST = "first"
"""One cell that shows whether vLLM starts here, and in which of `WAYS`."""

NAMES = (FIRST, "sensor", "reference_8b", "batch_h200", "bare", "repeats")
"""Names of all parts, in their order."""

_BATCH = 64
_SENSOR_S = 120
"""One minute of recording, and the start of torch."""
_ONE_COMPILATION = "+engine.max_cudagraph_capture_size=512"
"""vLLM compiles again for each list of captured batch sizes, which by default ends at twice ``max_num_seqs``."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to start vLLM: overrides of its arguments, and environment variables."""

    name: str
    overrides: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


WAYS = (
    Way("as it is"),
    Way("without FlashAttention", ("+engine.attention_backend=TRITON_ATTN",)),
    Way("with the older model runner", env=(("VLLM_USE_V2_MODEL_RUNNER", "0"),)),
    Way("uncompiled", ("engine.enforce_eager=true",)),
)
"""The first way in which vLLM starts is used for all parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A command that starts only if ``least_s`` are left, and is stopped after ``most_s``. Units: s.

    If ``goes_on``, the next call continues the part.
    """

    name: str
    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    least_s: float
    most_s: float
    goes_on: bool


def way_named(name: str | None) -> Way:
    """Return the way of this name; the first of `WAYS` if there is none."""
    return next((way for way in WAYS if way.name == name), WAYS[0])


def parts(folder: Path, way: Way, also: Sequence[str] = ()) -> tuple[Part, ...]:
    """Return all parts in their order: the shortest that gives a result first.

    Args:
        folder: for all results.
        way: how vLLM starts here.
        also: further overrides of the sweeps, for rehearsals.
    """
    commands = _Commands(folder, way, tuple(also))
    once, twice = "protocol.max_attempts=1", "protocol.max_attempts=2"  # failures here often repeat
    return (
        commands.sweep(FIRST, "reference_8b", f"engine.max_num_seqs={_BATCH}", once, goes_on=False),
        commands.sensor(),
        commands.sweep("reference_8b", "reference_8b", twice),
        commands.sweep("batch_h200", "batch_h200", twice),
        commands.bare(),
        commands.sweep("repeats", "reference_8b", "repeat=range(0,3)", "protocol.order=fewest_starts", twice),
    )


@dataclass(frozen=True, slots=True)
class _Commands:
    """Commands that write into one folder and start vLLM in one way."""

    folder: Path
    way: Way
    also: tuple[str, ...]

    def sweep(self, part: str, name: str, *overrides: str, goes_on: bool = True) -> Part:
        begun = any((self.folder / "runs").glob(f"{name}-*/sweep.json"))
        resumed = ("resume=latest", "extend=true") if goes_on and begun else ()
        simulated = any(override.startswith("engine=") for override in self.also)
        vllm = () if simulated else ("engine=vllm", _ONE_COMPILATION)
        where = (f"runs_dir={self.folder / 'runs'}", f"tracking.uri=sqlite:///{self.folder / 'mlflow.db'}")
        given = (f"+sweep={name}", *vllm, *overrides, *self.way.overrides, *self.also, *resumed, *where)
        options_first = sorted(given, key=lambda each: not each.startswith("--"))
        return Part(
            name=part,
            command=(sys.executable, "-m", "orchestrator", *options_first),
            env=self.way.env,
            least_s=120 if goes_on else 150,
            most_s=math.inf if goes_on else 300,
            goes_on=goes_on,
        )

    def sensor(self) -> Part:
        command = (sys.executable, "-m", "orchestrator", "doctor", "sensor", f"out={self.folder / 'sensor'}")
        limits_s = {"least_s": _SENSOR_S, "most_s": _SENSOR_S + 60}
        return Part(name="sensor", command=command, env=self.way.env, goes_on=False, **limits_s)

    def bare(self) -> Part:
        module = (sys.executable, "-m", "benchmarks.h200.bare", "--out", str(self.folder / "bare"))
        command = (*module, "--max-num-seqs", str(_BATCH), _ONE_COMPILATION, *self.way.overrides)
        return Part(name="bare", command=command, env=self.way.env, least_s=250, most_s=300, goes_on=False)
