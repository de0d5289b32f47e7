"""The rows of one series, in memory that does not grow without end."""

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
    """Row by row: the device's number, then the columns."""
    n_rows: int = 0
    last_s: float = -np.inf


@dataclass(slots=True)
class History:
    """Rows of numbers, one after the other, with the device they are of; the oldest go when there are too many.

    Args:
        columns: of numbers, `t_s` first, without the device.
        max_rows: how many are kept at least; 12 columns of a million rows are about 100 MB.
    """

    columns: Sequence[str]
    max_rows: int
    forgotten_until_s: float = -np.inf
    """Time of the last row that went."""
    _devices: dict[str, int] = field(default_factory=dict)
    _chunks: deque[_Chunk] = field(default_factory=deque)

    def append(self, t_s: float, device: str, values: Mapping[str, float]) -> None:
        """Adds a row; columns that have no value are missing."""
        chunk = self._chunks[-1] if self._chunks else self._new_chunk()
        if chunk.n_rows == _CHUNK_ROWS:
            chunk = self._new_chunk()
        code = self._devices.setdefault(device, len(self._devices))
        chunk.values.extend((code, t_s, *[values.get(name, _MISSING) for name in self.columns[1:]]))
        chunk.n_rows += 1
        chunk.last_s = max(chunk.last_s, t_s)

    def between(self, start_s: float, end_s: float, *, beyond: bool = True) -> dict[str, Column]:
        """Rows of a span of time; of each device, where asked, the one before and the one after it as well.

        Ordered by device, then time. With the two beyond it a value can be interpolated at the span's edges.
        """
        found = [np.array(chunk.values) for chunk in self._near(start_s)]
        rows = np.concatenate([*found, np.empty(0)]).reshape(-1, 1 + len(self.columns))
        parts = [_around(rows[rows[:, 0] == code], start_s, end_s, int(beyond)) for code in self._devices.values()]
        kept = np.concatenate(parts) if parts else rows
        names = np.array([*self._devices, ""], dtype=object)
        devices = names[kept[:, 0].astype(np.intp)]
        return {"t_s": kept[:, 1], "device": devices} | {
            name: kept[:, place] for place, name in enumerate(self.columns[1:], start=2)
        }

    def _near(self, start_s: float) -> list[_Chunk]:
        """Chunks with rows of the span, and one more before them for the rows before it."""
        chunks = list(self._chunks)
        first = next((place for place, chunk in enumerate(chunks) if chunk.last_s >= start_s), len(chunks))
        return chunks[max(first - 1, 0) :]

    def _new_chunk(self) -> _Chunk:
        if (len(self._chunks) - 1) * _CHUNK_ROWS >= self.max_rows:
            self.forgotten_until_s = self._chunks.popleft().last_s
        self._chunks.append(_Chunk())
        return self._chunks[-1]


def _around(rows: Floats, start_s: float, end_s: float, n_beyond: int) -> Floats:
    """Of one device's rows, ascending in time."""
    first = int(np.searchsorted(rows[:, 1], start_s, side="left"))
    last = int(np.searchsorted(rows[:, 1], end_s, side="right"))
    return rows[max(first - n_beyond, 0) : last + n_beyond]


def from_zero(columns: Mapping[str, Column]) -> Floats:
    """The column ``energy_j``, each device's from its first reading; otherwise as it is."""
    energy_j = columns["energy_j"].astype(np.float64)
    for device in set(columns["device"]):
        own = (columns["device"] == device) & np.isfinite(energy_j)
        if own.any():
            energy_j[own] -= energy_j[own][0]
    return energy_j
