"""``python -m benchmarks.file_cell OVERRIDES``: run a file of requests as a cell of ``engine=openai`` in this process.

It prints one line of JSON: status, provenance and metrics of the cell.
"""

import json
import sys
from pathlib import Path

from benchmarks.request_file import Options
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.records.record import CellResult
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell

_FIXED = (
    f"--config-dir={Path(__file__).parent / 'conf'}",
    "engine=openai",
    "workflow=request_file",
    "hardware=cpu",
    "collectors=none",
    "protocol.idle_baseline_s=0",
    "protocol.warmup_s=0",
    "protocol.min_window_s=0",
)


def main() -> None:
    """Run the one cell that the overrides describe."""
    expansion = compose((*_FIXED, *sys.argv[1:]))
    assert expansion is not None
    [cell] = build(expansion)[0].cells
    result = run_cell(cell)
    reasons = [reason.code for reason in result.reasons]
    whole = {"whole_output_throughput": _whole_output_throughput(cell, result)}
    print(json.dumps({"status": result.status, "reasons": reasons, **result.provenance, **result.metrics, **whole}))


def _whole_output_throughput(cell: Cell, result: CellResult) -> float:
    """Return all tokens divided by the time from before the first gap to the last answer. Units: tokens/s."""
    requests, steps = result.series["requests"], result.series["steps"]
    assert isinstance(cell.workflow, Options)
    gap_s = 1.0 / cell.workflow.arrivals_per_s if cell.workflow.arrivals_per_s else 0.0
    start_s = min(steps.column("arrival_s").to_pylist()) - gap_s
    return sum(requests.column("output_tokens").to_pylist()) / (
        max(requests.column("finished_s").to_pylist()) - start_s
    )


if __name__ == "__main__":
    main()
