"""The results of a sweep as one table: a row per cell, a column per configuration key and metric."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pydantic import ValidationError

from orchestrator.errors import UserError
from orchestrator.records.metrics import BY_KEY, cap_effect
from orchestrator.records.record import CellRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.names import dotted
from orchestrator.store.files import replacing, sync_folder, usable
from orchestrator.store.paths import find_sweep
from orchestrator.store.sweep import SweepStore

if TYPE_CHECKING:
    import pandas as pd


_HEAD = ("cell_id", "status", "simulated", "energy_source", "cap_effect", "reasons", "error", "attempts", "engine_key")
_logger = logging.getLogger(__name__)


def load_sweep(path_or_id: str | Path, runs_dir: str | Path = "runs") -> "pd.DataFrame":
    """Return the cells of a sweep that have a record, in the order of its matrix; what was not measured is NaN.

    Columns: ``cell_id``, ``status``, ``simulated``, ``energy_source`` (computed, counter, integral), ``cap_effect``
    (``inert`` if the power limit never limited the clock, else ``bound``), ``reasons``, ``error``, ``attempts``,
    ``engine_key``, then the cell's configuration under Hydra's dotted keys (defaults filled in), then every metric of
    docs/metrics.md and those of each tenant (``tenant/<tenant>/<metric>``) and role if there are several.

    Raises:
        UserError: There is no such sweep, or its manifest is damaged.
    """
    paths = find_sweep(Path(runs_dir), str(path_or_id))
    frame: pd.DataFrame = results_table(SweepStore.open(paths.root).records()).to_pandas()
    return frame


def write_results(store: SweepStore) -> None:
    """Write the table as ``results.parquet`` and ``results.csv``, each whole or not at all.

    Raises:
        EnvironmentFailure: The folder cannot be written or the disk is full.
    """
    write_table(store, results_table(store.records()), store.paths.results_parquet, store.paths.results_csv)


def write_table(store: SweepStore, table: pa.Table, parquet_path: Path, csv_path: Path) -> None:
    """Write a table of a sweep in both formats."""
    with usable(store.paths.root):
        with replacing(parquet_path) as file:
            pq.write_table(table, file, compression="zstd")
        with replacing(csv_path) as file:
            pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(quoting_style="needed"))
        sync_folder(store.paths.root)


def results_table(records: Iterable[CellRecord]) -> pa.Table:
    """Return the table as Arrow, without pandas."""
    cells = list(records)
    configs = [full_config(record) for record in cells]
    heads = [_head(record, config) | _scalars(config) for record, config in zip(cells, configs, strict=True)]
    columns = {name: column([head.get(name) for head in heads]) for name in _names(_HEAD, *heads)}
    for key in _names(BY_KEY, *(record.metrics for record in cells)):
        columns[key] = pa.array([record.metrics.get(key) for record in cells], pa.float64())
    return pa.table(columns)


def full_config(record: CellRecord) -> dict[str, Any]:
    """Return the configuration under dotted keys with defaults filled in; as recorded if it is no longer valid."""
    try:
        return dotted(Cell.model_validate(record.cell).model_dump(mode="json"))
    except (ValidationError, UserError) as error:
        reason = " ".join(str(error).split())
        _logger.warning("cell %s: defaults are not filled in: %s", record.cell_id, reason)
        return dotted(record.cell)


def _head(record: CellRecord, config: Mapping[str, Any]) -> dict[str, Any]:
    last = record.attempts[-1] if record.attempts else None
    return {
        "cell_id": record.cell_id,
        "status": record.status,
        "simulated": record.simulated,
        "energy_source": record.provenance.get("energy_source"),
        "cap_effect": cap_effect(config, record.metrics),
        "reasons": ", ".join(reason.code for reason in record.reasons),
        "error": last.error if last is not None else None,
        "attempts": len(record.attempts),
        "engine_key": record.engine_key,
    }


def _scalars(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not isinstance(value, list)}


def _names(*groups: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def column(values: list[Any]) -> pa.Array:
    """Return a column of one type: text if a key is a number in one cell and text in another."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array(values, pa.float64())
    if len(kinds) > 1:
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values, pa.string() if not kinds else None)
