"""The rows of one series, in bounded memory."""

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Column = npt.NDArray[np.generic]

_CHUNK_ROWS = 4096
_MISSING = float("nan")


@dataclass(slots=True)
class _Chunk:
    values: "array[float]" = field(default_factory=lambda: array("d"))
    """Row by row: the number of the device, then the columns."""
    n_rows: int = 0
    last_s: float = -np.inf


@dataclass(slots=True)
class History:
    """Rows of numbers of several devices; the oldest are dropped when there are too many.

    Args:
        columns: Names of the columns of numbers, `t_s` first, without the device.
        max_rows: Keep at least so many; a million rows of 12 columns are about 100 MB.
    """

    columns: Sequence[str]
    max_rows: int
    dropped_until_s: float = -np.inf
    """Time of the last row that was dropped."""
    _devices: dict[str, int] = field(default_factory=dict)
    _chunks: deque[_Chunk] = field(default_factory=deque)

    def append(self, t_s: float, device: str, values: Mapping[str, float]) -> None:
        """Append a row; columns without a value are NaN."""
        chunk = self._chunks[-1] if self._chunks else self._new_chunk()
        if chunk.n_rows == _CHUNK_ROWS:
            chunk = self._new_chunk()
        code = self._devices.setdefault(device, len(self._devices))
        chunk.values.extend((code, t_s, *[values.get(name, _MISSING) for name in self.columns[1:]]))
        chunk.n_rows += 1
        chunk.last_s = max(chunk.last_s, t_s)

    def between(self, start_s: float, end_s: float, *, beyond: bool = True) -> dict[str, Column]:
        """Return the rows of a time span, by column; ordered by device, then time.

        With ``beyond`` also the last row before the span and the first after it, of each device, so that values at the
        edges can be interpolated.
        """
        chunks = [np.array(chunk.values) for chunk in self._chunks_from(start_s)]
        rows = np.concatenate([*chunks, np.empty(0)]).reshape(-1, 1 + len(self.columns))
        parts = [_between(rows[rows[:, 0] == code], start_s, end_s, int(beyond)) for code in self._devices.values()]
        span = np.concatenate(parts) if parts else rows
        names = np.array([*self._devices, ""], dtype=object)
        devices = names[span[:, 0].astype(np.intp)]
        return {"t_s": span[:, 1], "device": devices} | {
            name: span[:, index] for index, name in enumerate(self.columns[1:], start=2)
        }

    def _chunks_from(self, start_s: float) -> list[_Chunk]:
        """Return the chunks with rows from ``start_s`` on, and the one before them."""
        chunks = list(self._chunks)
        first = next((index for index, chunk in enumerate(chunks) if chunk.last_s >= start_s), len(chunks))
        return chunks[max(first - 1, 0) :]

    def _new_chunk(self) -> _Chunk:
        if (len(self._chunks) - 1) * _CHUNK_ROWS >= self.max_rows:
            self.dropped_until_s = self._chunks.popleft().last_s
        self._chunks.append(_Chunk())
        return self._chunks[-1]


def _between(rows: Floats, start_s: float, end_s: float, n_beyond: int) -> Floats:
    """Return the rows of a span and ``n_beyond`` on either side; ``rows`` are one device's, ascending in time."""
    first = int(np.searchsorted(rows[:, 1], start_s, side="left"))
    last = int(np.searchsorted(rows[:, 1], end_s, side="right"))
    return rows[max(first - n_beyond, 0) : last + n_beyond]


def from_zero(columns: Mapping[str, Column]) -> Floats:
    """Return the column ``energy_j`` less the first reading of each device."""
    energy_j = columns["energy_j"].astype(np.float64)
    for device in set(columns["device"]):
        own = (columns["device"] == device) & np.isfinite(energy_j)
        if own.any():
            energy_j[own] -= energy_j[own][0]
    return energy_j
