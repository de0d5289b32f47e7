"""``python -m benchmarks.block_coverage``: coverage of the 95 % interval from blocks within one window.

Many windows of a simulated cell differ only in their random draws; a modelled sensor measures their power. The interval
of each window is compared with the mean of all windows, and with the mean of much longer runs. docs/method.md states
the results.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.played_sensor import Counter, Sensor, played_power
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.measure.summary import summarise
from orchestrator.records.metrics import BLOCK_HALF_WIDTH
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import CollectorsSpec

Floats = npt.NDArray[np.float64]

KEYS = (
    "gpu_energy_j_per_output_token",
    "avg_gpu_power_w",
    "output_throughput",
    "mean_itl_ms",
    "gpu_energy_j_per_request",
)
_GPU = ("engine=simulated", "hardware=h200_sxm", "model=llama3_1_8b")
_LONG = ("workflow.output_tokens.mean=800", "workflow.output_tokens.max=4000")
_FAR_REPEAT = 500_000
"""First repeat of the long runs, so that they draw other work than the windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A load, the numbers of requests of its windows, and the number of requests of a long run."""

    name: str
    options: tuple[str, ...]
    requests: tuple[int, ...]
    long_run: int = 20_000
    workflow: str = "chat"

    def cell(self, n_requests: int, repeat: int) -> Cell:
        """Return the cell of one window."""
        expansion = compose((*_GPU, f"workflow={self.workflow}", *self.options, f"load.num_workflows={n_requests}"))
        assert expansion is not None
        (cell,) = build(expansion)[0].cells
        return cell.model_copy(update={"repeat": repeat})


def closed(batch: int, *more: str) -> tuple[str, ...]:
    """Return overrides for a closed loop with as many users as the batch has places."""
    return ("load=closed", f"load.users={batch}", f"engine.max_num_seqs={batch}", *more)


LOADS = (
    Load(name="closed, batch 1", options=closed(1), requests=(12, 50), long_run=4000),
    Load(name="closed, batch 8", options=closed(8), requests=(70, 200, 400)),
    Load(name="closed, batch 64", options=closed(64), requests=(256, 512, 1500)),
    Load(name="closed, batch 256", options=closed(256), requests=(1024, 2048)),
    Load(name="closed, batch 64, long answers", options=closed(64, *_LONG), requests=(256, 512)),
    Load(name="closed, batch 16, equal lengths", options=closed(16), requests=(320,), workflow="token_grid"),
    Load(name="Poisson, 6/s", options=("load=poisson", "load.request_rate=6"), requests=(140, 200, 400)),
    Load(
        name="Poisson, 14/s",
        options=("load=poisson", "load.request_rate=14", "engine.max_num_seqs=256"),
        requests=(400, 800),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Metrics and half-widths of many windows, NaN if missing. Shape (windows,) each."""

    length_s: Floats
    latency_s: Floats
    n_blocks: Floats
    values: dict[str, Floats]
    half_widths: dict[str, Floats]

    def coverage(self, key: str, mean: float) -> float:
        """Return the share of the intervals that contain a mean; NaN without intervals."""
        known = ~np.isnan(self.half_widths[key])
        off = np.abs(self.values[key] - mean) <= self.half_widths[key]
        return float(off[known].mean()) if known.any() else float("nan")


def sensed_metrics(cell: Cell, sensor: Sensor) -> dict[str, float]:
    """Return the metrics of a cell whose power a sensor measured."""
    exact = run_cell(cell)
    power = played_power(
        exact.series["iterations"],
        idle_power_w=cell.gpu.idle_power_w,
        n_gpus=1,
        end_s=float(np.max(exact.series["power"].column("t_s"))) + 0.5,
        sensor=sensor,
    )
    sampled = cell.model_copy(update={"collectors": CollectorsSpec(power="nvml")})
    return summarise(sampled, {**exact.series, "power": power}).metrics


def windows(load: Load, n_requests: int, n_windows: int, counter: Counter) -> Windows:
    """Return windows of a load, each with its own random work and sensor."""
    cell = load.cell(n_requests, 0)
    metrics_of = [
        sensed_metrics(cell.model_copy(update={"repeat": repeat}), Sensor(seed=repeat, counter=counter))
        for repeat in range(n_windows)
    ]

    def column(key: str) -> Floats:
        return np.array([metrics.get(key, np.nan) for metrics in metrics_of])

    return Windows(
        length_s=column("window_s"),
        latency_s=column("mean_e2el_ms") / 1e3,
        n_blocks=column("num_blocks"),
        values={key: column(key) for key in KEYS},
        half_widths={key: column(BLOCK_HALF_WIDTH + key) for key in KEYS},
    )


def long_run_means(load: Load, n_runs: int) -> dict[str, float]:
    """Return mean metrics of runs so long that the random draws hardly matter, with exact energies."""
    cell = load.cell(load.long_run, 0)
    runs = [run_cell(cell.model_copy(update={"repeat": _FAR_REPEAT + index})).metrics for index in range(n_runs)]
    return {key: float(np.mean([metrics[key] for metrics in runs])) for key in KEYS}


def row(load: Load, measured: Windows, truth: dict[str, float]) -> str:
    """Return a Markdown row for one load and length."""
    energy = KEYS[0]
    mean = float(measured.values[energy].mean())
    known = ~np.isnan(measured.n_blocks)
    cells = [
        load.name,
        f"{measured.length_s.mean():.0f} s",
        f"{np.mean(measured.length_s / measured.latency_s):.1f}",
        f"{100 * known.mean():.0f} %",
        f"{measured.n_blocks[known].mean():.1f}" if known.any() else "",
        f"{100 * (mean / truth[energy] - 1):+.1f} %",
        f"{100 * 1.96 * measured.values[energy].std() / mean:.1f} %",
        f"{100 * np.nanmedian(measured.half_widths[energy]) / mean:.1f} %" if known.any() else "",
    ]
    for key in KEYS:
        held = (measured.coverage(key, float(np.nanmean(measured.values[key]))), measured.coverage(key, truth[key]))
        cells.append("" if np.isnan(held[0]) else f"{100 * held[0]:.0f} / {100 * held[1]:.0f}")
    return "| " + " | ".join(cells) + " |"


def table(loads: Sequence[Load], n_windows: int, n_runs: int, counter: Counter) -> Iterator[str]:
    """Yield a Markdown table with a row for each load and length."""
    heads = (
        "load",
        "window",
        "in request latencies",
        "has intervals",
        "blocks",
        "mean window is off by",
        "windows scatter by ±",
        "half-width",
        *KEYS,
    )
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for load in loads:
        truth = long_run_means(load, n_runs)
        for n_requests in load.requests:
            yield row(load, windows(load, n_requests, n_windows, counter), truth)


def main() -> None:
    """Print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=400, help="of each load and length")
    parser.add_argument("--long-runs", type=int, default=5, help="long runs of each load")
    parser.add_argument("--counter", choices=("exact", "sampled"), default="exact", help="energy counter of the sensor")
    parser.add_argument("--only", default="", help="only loads whose names contain this")
    given = parser.parse_args()
    loads = [load for load in LOADS if given.only in load.name]
    for line in table(loads, given.windows, given.long_runs, given.counter):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
