"""Compare our energies with those of Zeus on a GPU of known energy.

Run `python -m benchmarks.power_accuracy --zeus PYTHON`.

The GPU is one of the fake driver's (tests/fake_nvml) with the sensors of an H100; its power is a known function of
time. Both measure the same windows at the same time. Zeus (PyPI: `zeus`) runs in its own interpreter, so that its
requirements do not affect this environment. Writes benchmarks/results/power_accuracy.json and its section of
docs/power.md.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.machine import cpu_s, machine, today, wait_until_quiet
from benchmarks.result_files import read_results, write_results, write_section
from collectors.history import Column
from collectors.sampler_process import SamplerProcess
from collectors.sources import SourceSpec
from orchestrator.measure.columns import GpuSamples
from orchestrator.measure.gpu_energy import gpu_energy
from tests.fake_nvml.fake_gpus import FakeGpu, FakeGpus
from tests.fake_nvml.gpu_models import SENSED_H100
from tests.fake_nvml.library import Library
from tests.fake_nvml.terms import Shape

_PERIOD_S = 0.05
_MARGIN_S = 0.5
_SETTLE_S = 2.0
_QUIET_TIMEOUT_S = 120.0
_SEED = 5
_LONGER = (1.0, 1.1)
"""Random factor of the window length: edges at a fixed phase of the sensor's period would hide its lag."""
_NEWLINE = "\n"


@dataclass(frozen=True, slots=True)
class Wave:
    """Power as a function of time."""

    words: str
    power_w: float
    amplitude_w: float
    period_s: float
    shape: Shape


WAVES = (  # none is constant: Zeus skips readings that repeat the previous one, and real power never repeats for long
    Wave("all but constant, 445 to 455 W", 450.0, 5.0, 31.0, Shape.SINE),
    Wave("sine, 0.11 Hz, 150 to 650 W", 400.0, 250.0, 9.1, Shape.SINE),
    Wave("sine, 0.59 Hz, 150 to 650 W", 400.0, 250.0, 1.7, Shape.SINE),
    Wave("sine, 0.91 Hz, 150 to 650 W", 400.0, 250.0, 1.1, Shape.SINE),
)


def main() -> None:
    """Measure all waves and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zeus", default=".venv/zeus/bin/python", help="an interpreter that has the package zeus")
    parser.add_argument("--window-s", type=float, default=10.0)
    parser.add_argument("--windows", type=int, default=8, help="of each wave")
    given = parser.parse_args()
    wait_until_quiet(_QUIET_TIMEOUT_S)
    with tempfile.TemporaryDirectory() as folder:
        gpus = FakeGpus.create(Path(folder), [SENSED_H100], Library.build(Path(folder)))
        os.environ.update(gpus.variables)
        results = measured(gpus[0], given.zeus, given.window_s, given.windows)
    write_results("power_accuracy", {"date": today(), "machine": machine(), "window_s": given.window_s, **results})
    write_accuracy()


def write_accuracy() -> None:
    """Write the section of docs/power.md from the stored results."""
    results = read_results("power_accuracy")
    assert results is not None
    write_section("power.md", "Comparison with Zeus", accuracy_section(results))


@dataclass(frozen=True, slots=True)
class _Contest:
    """Both contenders on one GPU."""

    gpu: FakeGpu
    sampler: SamplerProcess
    zeus: "_Zeus"

    def window(self, length_s: float) -> dict[str, float]:
        """Return the relative errors of both over the same window."""
        self.zeus.request("begin")
        time.sleep(length_s)
        theirs = self.zeus.request("end")
        time.sleep(_MARGIN_S)
        start_s, end_s = theirs["edges_s"]
        truth_j = self.gpu.energy_j(round(end_s * 1e9)) - self.gpu.energy_j(round(start_s * 1e9))
        power = self.sampler.take(start_s - _MARGIN_S, end_s + _MARGIN_S)["power"]
        measured = _ours(power, self.gpu.uuid, (start_s, end_s))
        measured |= {f"zeus_{name}": theirs[name] for name in ("counter_j", "integral_j")}
        return {name.replace("_j", "_error"): value / truth_j - 1 for name, value in measured.items()}


def measured(gpu: FakeGpu, zeus_python: str, window_s: float, n_windows: int) -> dict[str, Any]:
    """Return the errors of both by wave and window, and their CPU cost."""
    sampler = SamplerProcess(SourceSpec("nvml", (gpu.uuid,)), _PERIOD_S)
    sampler.start()
    zeus = _Zeus(zeus_python)
    contest = _Contest(gpu, sampler, zeus)
    try:
        time.sleep(_SETTLE_S)  # the first samples cost more than later ones
        start_s, before = time.monotonic(), _Costs.of(contest)
        draw = np.random.default_rng(_SEED)
        waves = {wave.words: _of_wave(contest, wave, draw.uniform(*_LONGER, n_windows) * window_s) for wave in WAVES}
        passed_s, after = time.monotonic() - start_s, _Costs.of(contest)
        return {"zeus": zeus.version, "waves": waves, "cost": after.since(before, passed_s)}
    finally:
        zeus.close()
        sampler.stop()


def _of_wave(contest: _Contest, wave: Wave, lengths_s: npt.NDArray[np.float64]) -> list[dict[str, float]]:
    contest.gpu.set_power(wave.power_w, amplitude_w=wave.amplitude_w, period_s=wave.period_s, shape=wave.shape)
    windows = []
    for length_s in lengths_s.tolist():
        time.sleep(_MARGIN_S)
        windows.append(contest.window(length_s))
    return windows


def _ours(power: Mapping[str, Column], device: str, edges_s: tuple[float, float]) -> dict[str, float]:
    """Energies as a cell's metrics are computed from its series."""
    names = [name for name in GpuSamples.__dataclass_fields__ if name != "device"]
    samples = GpuSamples(device=device, **{name: power[name].astype(np.float64) for name in names})
    energy = gpu_energy(samples, computed=False)
    assert energy.counter is not None
    return {"our_counter_j": energy.counter.delta_j(edges_s), "our_integral_j": energy.integral_j(edges_s)}


class _Zeus:
    """The process that runs Zeus."""

    def __init__(self, python: str) -> None:
        command = [python, "-m", "benchmarks.zeus_meter", str(_PERIOD_S)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self._answer()["version"]

    @property
    def pid(self) -> int:
        """Process id of the interpreter; Zeus starts others."""
        return self._child.pid

    def request(self, command: str) -> dict[str, Any]:
        """Send a command and return the answer."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{command}\n")
        self._child.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process and its children."""
        children = psutil.Process(self.pid).children(recursive=True)
        self._child.kill()
        for each in children:  # they keep its pipes open
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._child.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(
                f"benchmarks.zeus_meter ended (exit status {self._child.wait()}): see its messages above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True, slots=True)
class _Costs:
    """CPU time of both so far, and our number of samples."""

    our_cpu_s: float
    our_samples: int
    zeus_cpu_s: float

    @classmethod
    def of(cls, contest: _Contest) -> "_Costs":
        """Read the current values of both."""
        assert contest.sampler.pid is not None
        n_rows = len(contest.sampler.take(0.0, time.monotonic())["power"]["t_s"])
        return cls(cpu_s(contest.sampler.pid), n_rows, cpu_s(contest.zeus.pid))

    def since(self, before: "_Costs", passed_s: float) -> dict[str, dict[str, float]]:
        """Return the cost of each contender since ``before``, per sample and per second."""
        ours = (self.our_cpu_s - before.our_cpu_s, self.our_samples - before.our_samples)
        zeus = (self.zeus_cpu_s - before.zeus_cpu_s, passed_s / _PERIOD_S)  # at most one poll per period
        return {
            name: {"cpu_us_per_sample": cpu_s / n * 1e6, "core_share": cpu_s / passed_s, "samples_per_s": n / passed_s}
            for name, (cpu_s, n) in (("ours", ours), ("zeus", zeus))
        }


def accuracy_section(results: dict[str, Any]) -> str:
    """Return the section as Markdown."""
    rows = [_row(words, windows) for words, windows in results["waves"].items()]
    costs = [
        f"| {words} | {cost['cpu_us_per_sample']:.0f} | {cost['samples_per_s']:.1f} | {cost['core_share']:.2%} |"
        for words, cost in (("ours", results["cost"]["ours"]), (f"Zeus {results['zeus']}", results["cost"]["zeus"]))
    ]
    n_windows = len(next(iter(results["waves"].values())))
    return f"""`python -m benchmarks.power_accuracy`, {results["date"]}. One fake GPU has the sensors of an H100: power
is updated every 100 ms with the mean of the last 25 ms, the counter every 100 ms. Both programs measure the same
windows at the same time: {n_windows} windows of {results["window_s"]:g} s or slightly more for each wave. The table
gives the error against the energy that the GPU used, in %: the mean absolute error, and the worst in brackets.
*Counter* compares ours with `ZeusMonitor`, *integral* ours with `PowerMonitor.get_energy`.

| power | counter, ours | counter, Zeus | integral, ours | integral, Zeus |
|---|---|---|---|---|
{_NEWLINE.join(rows)}

| | CPU time per sample, µs | samples/s | share of one core |
|---|---|---|---|
{_NEWLINE.join(costs)}

One of our samples has nine columns of one GPU. A sample of Zeus is one reading of instantaneous power, the only domain
that was requested; their number is the measured time divided by the period. CPU time is that of our sampler process,
and that of the Zeus process and its polling process, both at {_PERIOD_S * 1e3:g} ms.

Machine: {results["machine"]}."""


def _row(words: str, windows: list[dict[str, float]]) -> str:
    cells = []
    for name in ("our_counter_error", "zeus_counter_error", "our_integral_error", "zeus_integral_error"):
        sizes = [abs(window[name]) * 100 for window in windows]
        cells.append(f"{np.mean(sizes):.2f} ({max(sizes):.2f})")
    return f"| {words} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
