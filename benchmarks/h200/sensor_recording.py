"""What was polled, as it was: a parquet file of samples, and a JSON file of all else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

SAMPLES, FINDINGS = "sensor.parquet", "sensor.json"

Array = npt.NDArray[np.float64]
Series = tuple[Array, Array]
"""Times (s from the recording's origin) and values."""


@dataclass(slots=True)
class Recording:
    """All of one run; times are seconds from ``origin_s`` on CLOCK_MONOTONIC."""

    origin_s: float
    facts: dict[str, Any] = field(default_factory=dict)
    queries: dict[str, Any] = field(default_factory=dict)
    load: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name: ``start_s``, ``end_s``, ``edges_s`` and more; ``skipped`` or ``error`` where it did not run."""
    samples: dict[tuple[str, str], Series] = field(default_factory=dict)

    def add(self, stage: str, polled: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]) -> None:
        """Samples of a stage by query, their times on CLOCK_MONOTONIC."""
        for query, (times_s, values) in polled.items():
            self.samples[stage, query] = (np.asarray(times_s, float) - self.origin_s, np.asarray(values, float))

    def series(self, stage: str, query: str) -> Series:
        """Empty where there is none."""
        return self.samples.get((stage, query), (np.empty(0), np.empty(0)))

    def spans(self, stages: Sequence[str], query: str) -> list[Series]:
        """Of those stages that have readings."""
        found = [self.samples[stage, query] for stage in stages if (stage, query) in self.samples]
        return [series for series in found if len(series[0]) > 1]

    def write(self, folder: Path, found: Mapping[str, Any]) -> None:
        """Both files, the findings with what they rest on."""
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            self._table(),
            folder / SAMPLES,
            compression="zstd",
            use_dictionary=["stage", "query"],
            column_encoding={"t_us": "DELTA_BINARY_PACKED", "value": "DELTA_BINARY_PACKED"},
        )
        kept = {name: getattr(self, name) for name in ("origin_s", "facts", "queries", "load", "stages")}
        (folder / FINDINGS).write_text(json.dumps({**kept, "found": found}, indent=1) + "\n")

    def _table(self) -> pa.Table:
        parts = [
            pa.table(
                {
                    "stage": pa.repeat(stage, len(times_s)),
                    "query": pa.repeat(query, len(times_s)),
                    "t_us": pa.array(np.round(times_s * 1e6).astype(np.int64)),
                    "value": pa.array(np.round(values).astype(np.int64)),
                }
            )
            for (stage, query), (times_s, values) in self.samples.items()
        ]
        schema = pa.schema(
            [("stage", pa.string()), ("query", pa.string()), ("t_us", pa.int64()), ("value", pa.int64())]
        )
        return pa.concat_tables([schema.empty_table(), *parts])


def read_recording(folder: Path) -> Recording:
    """What `Recording.write` wrote."""
    kept = json.loads((folder / FINDINGS).read_text())
    del kept["found"]
    recording = Recording(**kept)
    table = pq.read_table(folder / SAMPLES).to_pandas()
    for (stage, query), rows in table.groupby(["stage", "query"], sort=False):
        times_s = rows["t_us"].to_numpy(float) / 1e6
        recording.samples[str(stage), str(query)] = (times_s, rows["value"].to_numpy(float))
    return recording
