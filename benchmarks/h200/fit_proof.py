"""``python -m benchmarks.h200.fit_proof``: how good a fit is on GPUs whose coefficients are known; writes its section.

The cells are those of the sweeps that are run on a real H200 (`reference_8b`, `batch_h200`), on the simulated engine
with a GPU that is not as the preset says, seen through a played sensor.
"""

import argparse
import re
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.h200.fit import fit, parser
from benchmarks.h200.fit_error import LEFT_OUT, METRICS, WORKFLOW_LEFT_OUT
from benchmarks.h200.fit_found import error_line
from benchmarks.h200.fit_truth import Truth, measured_sweep, planned
from benchmarks.kept import write_results
from benchmarks.machine import machine, today
from benchmarks.played_sensor import Sensor
from benchmarks.section import write_section
from orchestrator.spec.cell import Cell

HEADING = "Fitting a preset to a GPU"
_WIDTH = 130
TRUTHS: Mapping[str, tuple[str, Truth]] = {
    "plain": ("coefficients 12 to 25 % off, iterations ± 3 %, an exact counter", Truth()),
    "compact": ("the same, who was scheduled is not kept", Truth(keep=("iterations", "power", "requests"))),
    "sampled": ("the same, a counter that sees a quarter of the time", Truth(sensor=Sensor(counter="sampled"))),
    "no_counter": ("the same, power samples alone", Truth(sensor=Sensor(counter="none"))),
    "noisy": ("the same, iterations ± 15 %", Truth(noise_ratio=0.15)),
    "strange": ("costs of another form (`StrangeCosts`)", Truth(strange=True)),
    "limited": ("heavy batches slowed by a power limit of 450 W", Truth(power_limit_w=450)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit every truth, and keep what came of it."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--keep", action="store_true", help="keep the results, and write the page's section")
    given = asked.parse_args(arguments)
    cells = (*planned("+sweep=reference_8b"), *planned("+sweep=batch_h200"))
    truths: dict[str, dict[str, Any]] = {}
    for name, (told, truth) in TRUTHS.items():
        truths[name] = {"told": told, **proved(cells, truth)}
        print(f"{name}: {error_line(truths[name]['errors'][LEFT_OUT])}", flush=True)
    found = {"date": today(), "machine": machine(), "n_cells": len(cells), "truths": truths}
    if given.keep:
        write_results("h200_fit_proof", found)
        write_section("simulation.md", HEADING, section(found))


def proved(cells: Sequence[Cell], truth: Truth) -> dict[str, Any]:
    """Errors of a fit on these cells, and how long it took."""
    with tempfile.TemporaryDirectory() as scratch:
        root = measured_sweep(Path(scratch), cells, truth)
        found = fit(parser().parse_args([str(root)]))
    return {"errors": found["errors"], "took_s": found["took_s"]}


def section(found: Mapping[str, Any]) -> str:
    """What docs/simulation.md says of the fit and of its proof."""
    rows = [_row(one) for one in found["truths"].values()]
    longest_s = max(one["took_s"] for one in found["truths"].values())
    names = ("ITL", "throughput", "power", "J/token", "TTFT")
    what = (
        "`python -m benchmarks.h200.fit SWEEP_FOLDER... [--write]` turns cells measured on an H200 into its preset: "
        "step times from the spacing of iterations' ends, then power from energies between readings of the counter a "
        "second apart, each coefficient near what the first cell was planned with unless the cells say otherwise. It "
        "tells how well each is determined, and predicts every cell by fits without its configuration and without its "
        "workflow. What one model on one GPU at one clock cannot tell (experts, all-reduce, clocks) is held."
    )
    proof = (
        f"On GPUs whose coefficients are known ({found['n_cells']} cells of `reference_8b` and `batch_h200`, "
        "simulated, seen through a played sensor): mean absolute error of cells whose configuration, and after the "
        "stroke whose workflow, was left out, in %. `python -m benchmarks.h200.fit_proof --keep`, "
        f"{found['date']}, {found['machine'].split(',')[0]}, shared with others; a fit took at most {longest_s:.0f} s."
    )
    head = [
        _filled(what),
        "",
        _filled(proof),
        "",
        "| the truth | " + " | ".join(names) + " | the preset before: throughput, power |",
        "|---" * (len(names) + 2) + "|",
    ]
    return "\n".join([*head, *rows])


def _filled(text: str) -> str:
    """In lines, code never broken."""
    whole = re.sub("`[^`]*`", lambda code: code[0].replace(" ", "\0"), text)
    return textwrap.fill(whole, _WIDTH, break_on_hyphens=False).replace("\0", " ")


def _row(one: Mapping[str, Any]) -> str:
    errors = one["errors"]
    both = [
        " / ".join(f"{100 * errors[name][metric]['mean_absolute']:.1f}" for name in (LEFT_OUT, WORKFLOW_LEFT_OUT))
        for metric in METRICS
    ]
    before = [
        f"{100 * errors['present'][metric]['mean_absolute']:.0f}" for metric in ("output_throughput", "avg_gpu_power_w")
    ]
    return f"| {one['told']} | " + " | ".join(both) + f" | {', '.join(before)} |"


if __name__ == "__main__":
    main()
