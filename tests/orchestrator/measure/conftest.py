"""Hand-made series with known metrics."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.measure.columns import Columns
from orchestrator.records.series import SCHEMAS

_DEFAULTS: dict[str, dict[str, Any]] = {
    "requests": {
        "tenant": "t", "step": "s", "role": "r", "prompt_tokens": 100, "cached_tokens": 0, "output_tokens": 11,
        "n_preemptions": 0, "prefill_energy_j": None, "decode_energy_j": None,
    },
    "steps": {"tenant": "t", "step": "s", "role": "r", "parents": [], "arrival_s": 0.0},
    "iterations": {
        "n_iterations": 1, "n_running": 1, "n_waiting": 0, "prefill_tokens": 0, "decode_tokens": 0,
        "continued_tokens": 0, "kv_usage_ratio": 0.1, "sm_clock_mhz": 1000.0, "power_capped": False,
        "energy_j": 0.0, "prefill_energy_j": 0.0, "decode_energy_j": 0.0,
    },
    "power": {"device": "SIM-0", "sm_clock_mhz": None},
    "cpu_power": {},
    "gpu_processes": {"device": "GPU-0"},
    "sensor_events": {"device": "GPU-0"},
    "tokens": {},
}  # fmt: skip


@pytest.fixture
def table() -> Callable[..., pa.Table]:
    """Return a function that makes a series from a few named values per row; other columns have defaults."""

    def make(name: str, rows: list[dict[str, Any]]) -> pa.Table:
        filled = [_DEFAULTS[name] | row for row in rows]
        for row in filled:
            if name == "requests":
                row.setdefault("workflow_id", row["request_id"])
                row.setdefault("scheduled_s", row["submitted_s"])
            if name == "steps":
                row.setdefault("workflow_id", row["request_id"])
                row.setdefault("ready_s", row["arrival_s"])
        return pa.Table.from_pylist(filled, schema=SCHEMAS[name])

    return make


@pytest.fixture
def series(table: Callable[..., pa.Table]) -> Callable[..., Columns]:
    """Return the function that makes a series as columns."""
    return lambda name, rows: Columns(table(name, rows))
