"""Where the results of the H200 are kept in the project, and which of a cell's metrics its page tells."""

from pathlib import Path

DATA = Path(__file__).parent.parent / "data" / "h200"
RUNS = DATA / "runs"
SWEEPS = ("reference_8b", "batch_h200")

KEPT_METRICS = (
    "gpu_energy_j_per_output_token",
    "gpu_energy_j_per_workflow",
    "avg_gpu_power_w",
    "output_throughput",
    "median_itl_ms",
    "median_ttft_ms",
    "median_workflow_ms",
    "mean_num_running",
    "window_s",
)
"""Of a cell, by the names of docs/metrics.md."""
