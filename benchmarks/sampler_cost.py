"""Measure the cost and regularity of sampling eight GPUs beside a busy process: `python -m benchmarks.sampler_cost`.

The GPUs are those of the fake driver (tests/fake_nvml), so the cost of calls into NVIDIA's driver is not included.
Writes benchmarks/results/sampler_cost.json and its section of docs/power.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.machine import cpu_s, machine, today, wait_until_quiet
from benchmarks.result_files import read_results, write_results, write_section
from collectors.sampler_process import SamplerProcess
from collectors.sources import SourceSpec
from tests.fake_nvml.fake_gpus import FakeGpus
from tests.fake_nvml.gpu_models import SENSED_H100
from tests.fake_nvml.library import Library

_SETTLE_S = 2.0
_QUIET_TIMEOUT_S = 120.0
_NEWLINE = "\n"


def main() -> None:
    """Measure the runs and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--period-s", type=float, default=0.05)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    wait_until_quiet(_QUIET_TIMEOUT_S)
    with tempfile.TemporaryDirectory() as folder:
        gpus = FakeGpus.create(Path(folder), [SENSED_H100] * given.gpus, Library.build(Path(folder)))
        os.environ.update(gpus.variables)
        for index, gpu in enumerate(gpus):
            gpu.set_power(400, amplitude_w=200, period_s=1.0 + 0.1 * index)
        runs = [run_once([gpu.uuid for gpu in gpus], given.period_s, given.seconds) for _ in range(given.runs)]
    write_results("sampler_cost", {"date": today(), "machine": machine(), **vars(given), "runs": runs})
    write_cost()


def write_cost() -> None:
    """Write the section of docs/power.md from the stored results."""
    results = read_results("sampler_cost")
    assert results is not None
    write_section("power.md", "Cost of sampling", cost_section(results))


def cost_section(results: dict[str, Any]) -> str:
    """Return the section as Markdown."""
    rows = [
        f"| {each['core_share']:.2%} | {each['cpu_us_per_sample']:.0f} | {each['p99_gap_ms']:.1f} | "
        f"{each['max_gap_ms']:.1f} | {each['n_rows_per_gpu']:,} |"
        for each in results["runs"]
    ]
    share, gap_ms = (median(each[key] for each in results["runs"]) for key in ("core_share", "p99_gap_ms"))
    n_gpus, period_ms = results["gpus"], results["period_s"] * 1e3
    return f"""`python -m benchmarks.sampler_cost`, {results["date"]}. A sampler process (`collectors/sampler_child.py`)
reads {n_gpus} GPUs of the fake driver every {period_ms:g} ms for {results["seconds"]:g} s. Another process keeps one
core busy. A *sample* is one row of one GPU. A *gap* is the time between two rows of one GPU. Each row of the table is
one run. The cost of calls into NVIDIA's driver is not included; it was not measured.

| share of one core | CPU time per sample, µs | p99 gap, ms | longest gap, ms | rows per GPU |
|---|---|---|---|---|
{_NEWLINE.join(rows)}

Medians: {share:.2%} of one core, p99 gap {gap_ms:.1f} ms.

Machine: {results["machine"]}."""


def run_once(uuids: Sequence[str], period_s: float, length_s: float) -> dict[str, float]:
    """Sample these GPUs for ``length_s`` and return the CPU cost and the gaps between samples."""
    sampler = SamplerProcess(SourceSpec("nvml", uuids), period_s)
    sampler.start()
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(_SETTLE_S)
        assert sampler.pid is not None
        start_s, start_cpu_s = time.monotonic(), cpu_s(sampler.pid)
        time.sleep(length_s)
        end_s, end_cpu_s = time.monotonic(), cpu_s(sampler.pid)
        power = sampler.take(start_s, end_s)["power"]
    finally:
        busy.kill()
        busy.wait()
        sampler.stop()
    gaps_s = np.concatenate([np.diff(power["t_s"][power["device"] == uuid].astype(np.float64)) for uuid in uuids])
    n_rows = len(power["t_s"])
    return {
        "core_share": (end_cpu_s - start_cpu_s) / (end_s - start_s),
        "cpu_us_per_sample": (end_cpu_s - start_cpu_s) / n_rows * 1e6,
        "p99_gap_ms": float(np.percentile(gaps_s, 99)) * 1e3,
        "max_gap_ms": float(gaps_s.max()) * 1e3,
        "n_rows_per_gpu": n_rows // len(uuids),
    }


if __name__ == "__main__":
    main()
