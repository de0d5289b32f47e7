"""``python -m benchmarks.h200.predict``: what the simulated H200 says each cell of the two sweeps will show.

It goes to ``benchmarks/data/h200/prediction.json`` and is committed before anything is measured: what is measured is
laid beside it, whatever the preset says by then.
"""

import json
from typing import Any

from benchmarks.h200.kept import DATA, KEPT_METRICS, SWEEPS
from benchmarks.machine import today
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.records import provenance
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell

HARDWARE = "h200_sxm"


def main() -> None:
    """Simulate all cells, and keep what they show."""
    rows = [_row(sweep, cell) for sweep in SWEEPS for cell in cells_of(sweep)]
    found = {
        "date": today(),
        "versions": provenance.versions(),
        "git": provenance.git_state(),
        "hardware": cells_of(SWEEPS[0])[0].hardware.model_dump(mode="json"),
        "cells": rows,
    }
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / "prediction.json").write_text(json.dumps(found, indent=1) + "\n")
    for row in rows:
        print(row["sweep"], row["workflow"], row["max_num_seqs"], f"{row['gpu_energy_j_per_output_token']:.4g} J/token")


def cells_of(sweep: str) -> tuple[Cell, ...]:
    """The cells of a sweep on the simulated H200."""
    expansion = compose((f"+sweep={sweep}", "engine=simulated", f"hardware={HARDWARE}"))
    assert expansion is not None
    return build(expansion)[0].cells


def _row(sweep: str, cell: Cell) -> dict[str, Any]:
    metrics = run_cell(cell).metrics
    known = {name: metrics[name] for name in KEPT_METRICS if name in metrics}
    return {"sweep": sweep, "workflow": cell.workflow.kind, "max_num_seqs": cell.engine.max_num_seqs, **known}


if __name__ == "__main__":
    main()
