"""The records of a sweep with repeats pooled: a row a configuration, every metric's mean and 95 % interval."""

import json
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from orchestrator.measure.statistics import mean_of
from orchestrator.records.metrics import OF_CELLS
from orchestrator.records.record import CellRecord
from orchestrator.results import column, full_config
from orchestrator.store.files import replacing, sync_folder, usable
from orchestrator.store.sweep import SweepStore

REPEAT = "repeat"
HALF_WIDTH = "half_width:"
"""Prefix of the columns that hold the half-width of the 95 % Student t interval of a mean."""


def write_pooled(store: SweepStore) -> None:
    """Write the table as ``repeats.parquet`` and ``repeats.csv``, where some configuration has several records.

    Raises:
        EnvironmentFailure: the folder cannot be written or the disk is full.
    """
    table = pooled_table(store.records())
    if table.num_rows == 0 or max(table.column("n_repeats").to_pylist()) < 2:
        return
    with usable(store.paths.root):
        with replacing(store.paths.repeats_parquet) as file:
            pq.write_table(table, file, compression="zstd")
        with replacing(store.paths.repeats_csv) as file:
            pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(quoting_style="needed"))
        sync_folder(store.paths.root)


def pooled_table(records: Iterable[CellRecord]) -> pa.Table:
    """One row a configuration, in the order of the matrix.

    Columns: ``n_repeats`` (records there are), ``n_ok`` (those the means are of), the configuration without ``repeat``,
    then every metric's mean and, under ``half_width:<metric>``, the half-width of its 95 % Student t interval: null
    where fewer than two repeats have the metric.
    """
    groups: dict[str, list[CellRecord]] = {}
    for record in records:
        groups.setdefault(_configuration(record), []).append(record)
    rows = [_row(group) for group in groups.values()]
    names = dict.fromkeys(name for row in rows for name in row)
    metrics = [name for name in OF_CELLS if name in names]
    ordered = [name for name in names if name.removeprefix(HALF_WIDTH) not in OF_CELLS]
    ordered += [prefix + name for name in metrics for prefix in ("", HALF_WIDTH)]
    return pa.table({name: column([row.get(name) for row in rows]) for name in ordered})


def _row(records: Sequence[CellRecord]) -> dict[str, object]:
    config = {key: value for key, value in full_config(records[0]).items() if not isinstance(value, list)}
    config.pop(REPEAT, None)
    ok = [record for record in records if record.status == "ok"]
    found: dict[str, object] = {"n_repeats": len(records), "n_ok": len(ok), **config}
    for key in OF_CELLS:
        values = [record.metrics[key] for record in ok if key in record.metrics]
        if values:
            mean = mean_of(values)
            found[key] = mean.value
            found[HALF_WIDTH + key] = mean.half_width if len(values) > 1 else None
    return found


def _configuration(record: CellRecord) -> str:
    """What repeats of a cell share."""
    return json.dumps({key: value for key, value in record.cell.items() if key != REPEAT}, sort_keys=True)
