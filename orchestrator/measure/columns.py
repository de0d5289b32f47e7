"""Series as numpy columns: what the summaries compute on."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.records.series import by_engine

Floats = npt.NDArray[np.float64]


class Columns:
    """The columns of one series, converted on demand; a null number becomes NaN."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def floats(self, name: str) -> Floats:
        """A numeric column as float64, nulls as NaN; shape (rows,)."""
        column = self._table.column(name).cast(pa.float64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)

    def floats_or_nan(self, name: str) -> Floats:
        """The same, and all NaN where the series, an older one, has no such column."""
        return self.floats(name) if name in self._table.column_names else np.full(len(self), np.nan)

    def strings(self, name: str) -> npt.NDArray[np.object_]:
        """A text column; shape (rows,)."""
        return np.asarray(self._table.column(name).to_pylist(), dtype=object)

    def values(self, name: str) -> list[Any]:
        """A column as Python objects."""
        return list(self._table.column(name).to_pylist())

    def rows(self) -> list[dict[str, Any]]:
        """Row by row, as Python objects."""
        return list(self._table.to_pylist())

    def by_engine(self) -> "list[Columns]":
        """The rows of each engine; of one only, where there are not several."""
        return [Columns(table) for table in by_engine(self._table).values()]
