"""What attribution adds to the result of a cell whose energy was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from orchestrator.attribution.attribute import METHOD, attribute
from orchestrator.attribution.split import Split
from orchestrator.measure.columns import Floats
from orchestrator.spec.cell import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """The series with the energies filled in, the metrics of the attribution itself, and its method."""

    series: dict[str, pa.Table]
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)


def with_attribution(cell: Cell, series: Mapping[str, pa.Table]) -> Attributed:
    """The series as they are where the engine knows the energies itself, or they cannot be told from what there is."""
    found = None if cell.engine.simulated else attribute(cell, series)
    if found is None:
        return Attributed(series=dict(series))
    return Attributed(
        series={
            **series,
            "requests": _filled(series["requests"], found.requests),
            "iterations": _filled(series["iterations"], found.iterations),
        },
        metrics={
            "attribution_residual_ratio": found.residual_ratio,
            "attribution_misfit_ratio": found.misfit_ratio,
        },
        provenance={"attribution": METHOD},
    )


def _filled(table: pa.Table, split: Split) -> pa.Table:
    columns = {"prefill_energy_j": split.prefill_j, "decode_energy_j": split.decode_j}
    columns["energy_j"] = split.prefill_j + split.decode_j
    for name, values in columns.items():
        if name in table.column_names:
            table = _with(table, name, values)
    return table


def _with(table: pa.Table, name: str, values: Floats) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, table.schema.field(at), pa.array(values, pa.float64(), from_pandas=True))
