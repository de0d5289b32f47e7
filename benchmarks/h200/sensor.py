"""``python -m benchmarks.h200.sensor --out DIR``: what a GPU's power sensor does, by polling it under known loads.

Reads only. DIR gets ``sensor.parquet`` (every reading) and ``sensor.json`` (facts, when the load was on, findings),
both written anew after each stage. ``--again DIR`` computes the findings anew from what was kept. Exit 3: there is no
GPU, or no torch with CUDA to load it.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pynvml

from benchmarks.h200.sensor_facts import facts_of, field_age, sample_buffer
from benchmarks.h200.sensor_found import found_in
from benchmarks.h200.sensor_load import Load, Missing
from benchmarks.h200.sensor_queries import answered, other_queries, power_queries
from benchmarks.h200.sensor_recording import Recording, read_recording
from benchmarks.h200.sensor_stages import Plan, Stages

_NO_GPU = 3
_PATIENCE_S = 5.0
_LOAD = "benchmarks.h200.sensor_matmul"


def main() -> None:
    """Run, or compute anew."""
    given = _arguments().parse_args()
    if given.again is not None:
        recording = read_recording(given.again)
        recording.write(given.again, found_in(recording))
        return
    end_s = time.monotonic() + given.limit_s
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(given.gpu)
    except pynvml.NVMLError as error:
        _give_up(f"no GPU {given.gpu}: {error}")
    try:
        missing = _measure(given, handle, end_s)
    finally:
        pynvml.nvmlShutdown()
    if missing is not None:
        _give_up(missing)


def _arguments() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(description=__doc__)
    where = asked.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="folder of the results")
    where.add_argument("--again", type=Path, help="folder of results whose findings are computed anew; needs no GPU")
    asked.add_argument("--limit-s", type=float, default=100.0, help="stages that do not fit are skipped")
    asked.add_argument("--gpu", type=int, default=0, help="its index in NVML's order")
    asked.add_argument("--share", type=float, default=1.0, help="of the length of every stage, for rehearsals")
    asked.add_argument("--load", default=_LOAD, help="the module whose process loads the GPU")
    return asked


def _measure(given: argparse.Namespace, handle: Any, end_s: float) -> str | None:
    """Everything there is time for; why there is no load, if so."""
    recording = Recording(origin_s=time.monotonic())
    with Load(given.load, given.gpu, given.limit_s + _PATIENCE_S) as load:
        recording.facts = facts_of(handle)
        queries, recording.queries = answered(power_queries(handle))
        recording.queries |= answered(other_queries(handle))[1]
        recording.facts |= {"sample_buffer": sample_buffer(handle), "field_age": field_age(handle)}
        recording.write(given.out, {})
        stages = Stages(queries, pynvml.nvmlDeviceGetUUID(handle), load, recording, end_s, _plan(given.share))
        missing = _run(stages, given.out)
    recording.write(given.out, found_in(recording))
    print(f"{time.monotonic() - recording.origin_s:.1f} s: {', '.join(recording.stages)}", flush=True)
    return missing


def _run(stages: Stages, folder: Path) -> str | None:
    for name, run in stages.steps().items():
        try:
            run()
        except Missing as error:
            return str(error)
        except Exception as error:  # a supervisor: a stage that fails must not cost those after it
            stages.recording.stages[name] = {"error": f"{type(error).__name__}: {error}"}
        stages.recording.write(folder, {})
    return None


def _plan(share: float) -> Plan:
    plan = Plan()
    lengths = ("idle_s", "context_s", "step_on_s", "decay_s", "sampler_s")
    shorter = {name: getattr(plan, name) * share for name in lengths}
    return replace(plan, **shorter, waves=tuple((period_s, for_s * share) for period_s, for_s in plan.waves))


def _give_up(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    raise SystemExit(_NO_GPU)


if __name__ == "__main__":
    main()
