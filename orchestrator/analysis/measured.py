"""A cell as an analysis sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.records.record import CellRecord, Status
from orchestrator.results import full_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """``config`` holds the whole configuration under dotted keys, ``metrics`` what was measured."""

    cell_id: str
    status: Status
    simulated: bool
    config: Mapping[str, Any]
    metrics: Mapping[str, float]


def measured(record: CellRecord) -> Measured:
    """A record with its configuration spelled out."""
    return Measured(
        cell_id=record.cell_id,
        status=record.status,
        simulated=record.simulated,
        config=full_config(record),
        metrics=record.metrics,
    )
