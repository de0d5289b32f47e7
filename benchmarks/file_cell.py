"""``python -m benchmarks.file_cell OVERRIDES``: a file of requests through a cell of ``engine=openai``, right here.

What is printed is one line of JSON: the cell's status, its provenance and metrics.
"""

import json
import sys
from pathlib import Path

from orchestrator.matrix.build import build
from orchestrator.matrix.compose import compose
from orchestrator.run_cell import run_cell

_FIXED = (
    f"--config-dir={Path(__file__).parent / 'conf'}",
    "engine=openai",
    "workflow=request_file",
    "hardware=cpu",
    "collectors=none",
    "protocol.idle_baseline_s=0",
    "protocol.min_window_s=0",
)


def main() -> None:
    """Run the one cell that the overrides describe."""
    expansion = compose((*_FIXED, *sys.argv[1:]))
    assert expansion is not None
    [cell] = build(expansion)[0].cells
    result = run_cell(cell)
    reasons = [reason.code for reason in result.reasons]
    print(json.dumps({"status": result.status, "reasons": reasons, **result.provenance, **result.metrics}))


if __name__ == "__main__":
    main()
