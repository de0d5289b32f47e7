"""A valid sampled cell, for tests that change one thing."""

from pathlib import Path

import pyarrow as pa
import yaml
from known_power import PlayedSensor, sine

from orchestrator.spec.cell import Cell

_ROOT = Path(__file__).parents[3]


def _preset(name):
    return yaml.safe_load((_ROOT / "conf" / f"{name}.yaml").read_text())


def a_cell(*, protocol=None, collectors=None, tensor_parallel_size=1, **hardware) -> Cell:
    """Return a cell on one H100 whose engine measures times, and whose power is sampled."""
    return Cell.model_validate(
        {
            "model": _preset("model/llama3_1_8b"),
            "hardware": _preset("hardware/h100_sxm") | hardware,
            "engine": {
                "kind": "sample_plugins.engine",
                "max_num_seqs": 8,
                "max_num_batched_tokens": 512,
                "tensor_parallel_size": tensor_parallel_size,
            },
            "workflow": _preset("workflow/chat"),
            "load": {"kind": "closed", "users": 1, "num_workflows": 10},
            "collectors": {"power": "nvml"} if collectors is None else collectors,
            "protocol": protocol or {},
        }
    )


def a_power(power=None, **constant) -> pa.Table:
    """Return samples of ``power``, about 400 W if None; other columns are constant."""
    plain = {"clock_event_reasons": 0, "power_limit_w": 700.0, "sm_clock_mhz": 1980.0, "temperature_c": 60.0}
    return PlayedSensor().samples(power or sine(400, 50, 0.3), (-1.0, 24.0), **plain | constant)


def spoilt(table: pa.Table, name: str, change, axis: str = "t_s") -> pa.Table:
    """Return the table with one column changed: ``change(times, values)`` gives the new values, NaN for null."""
    values = change(table.column(axis).to_numpy(), table.column(name).to_numpy(zero_copy_only=False).copy())
    index = table.schema.get_field_index(name)
    return table.set_column(
        index, table.schema.field(index), pa.array(values, table.schema.field(index).type, from_pandas=True)
    )
