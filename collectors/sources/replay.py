"""Power source `replay`: a power trace from a file, read as if its GPUs were on this machine.

CSV or parquet with a row per sample: `t_s` (or `time_s`, `timestamp_s`; ascending within a device) and `power_w` (or
`power`), and optionally `device` and the other columns of a power series. Values are interpolated linearly. The `power`
parquet files of a sweep can be replayed without changes.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import numpy.typing as npt

from collectors.errors import CollectorError
from collectors.source import POWER_COLUMNS, Reading

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

_NAMES = {"time_s": "t_s", "timestamp_s": "t_s", "power": "power_w"}
_NOT_INTERPOLATED = ("clock_event_reasons",)  # a bit mask


def build(devices: Sequence[str], path: Path | None = None) -> "ReplaySource":
    """Return a source that replays a file.

    Args:
        devices: New names of the trace's devices, in their order; empty keeps their names.
        path: The file.

    Raises:
        CollectorError: There is no file, or it is not a power trace.
    """
    if path is None:
        raise CollectorError("power source replay needs a file: collectors.path=TRACE.csv or .parquet")
    traces = _traces(path)
    if len(devices) > len(traces):
        raise CollectorError(f"power trace {path} has {len(traces)} devices, {len(devices)} are to be replayed")
    return ReplaySource(dict(zip(devices or traces, traces.values(), strict=False)), path)


@dataclass(frozen=True, slots=True)
class _Trace:
    """The samples of one device; times begin at 0."""

    t_s: Floats
    columns: Mapping[str, Floats]

    def at(self, t_s: float) -> dict[str, float]:
        """Return the values at a time within the trace, without those that the file lacks."""
        before = int(np.searchsorted(self.t_s, t_s, side="right")) - 1
        values = {
            name: float(column[before] if name in _NOT_INTERPOLATED else np.interp(t_s, self.t_s, column))
            for name, column in self.columns.items()
        }
        return {name: value for name, value in values.items() if not np.isnan(value)}


class ReplaySource:
    """Replays a trace from the moment it is opened; see `PowerSource`."""

    series: Literal["power"] = "power"

    def __init__(self, traces: Mapping[str, _Trace], path: Path) -> None:
        self.devices = tuple(traces)
        self._traces = traces
        self._path = path
        self._origin_s = 0.0

    def __enter__(self) -> Self:
        self._origin_s = time.monotonic()
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def read(self, device: str) -> Reading:
        """Read the trace at the present time; after its end the device is lost."""
        now_s = time.monotonic()
        trace = self._traces[device]
        if now_s - self._origin_s > trace.t_s[-1]:
            raise CollectorError(f"power trace {self._path} of {device} ended after {trace.t_s[-1]:g} s")
        return Reading(now_s, trace.at(now_s - self._origin_s))

    def processes(self, _device: str) -> tuple[int, ...]:
        """Return none: a trace has no processes."""
        return ()


def _traces(path: Path) -> dict[str, _Trace]:
    table = _read(path).rename(columns=_NAMES)
    for name in ("t_s", "power_w"):
        if name not in table.columns:
            columns = ", ".join(map(str, table.columns[:12]))
            raise CollectorError(f"power trace {path}: no column {name}; it has {columns}")
    if "device" not in table.columns:
        table["device"] = "TRACE-0"
    origin_s = _numbers(path, table, "t_s").min()
    return {
        str(device): _trace(path, str(device), rows, origin_s)
        for device, rows in table.groupby("device", sort=False, dropna=False)
    }


def _trace(path: Path, device: str, rows: "pd.DataFrame", origin_s: float) -> _Trace:
    t_s = _numbers(path, rows, "t_s") - origin_s
    if len(t_s) < 2 or not np.isfinite(t_s).all() or (np.diff(t_s) < 0).any():
        raise CollectorError(f"power trace {path}, device {device}: t_s must ascend over at least two rows")
    names = [name for name in POWER_COLUMNS if name in rows.columns and name not in ("t_s", "device")]
    return _Trace(t_s, {name: _numbers(path, rows, name) for name in names})


def _numbers(path: Path, table: "pd.DataFrame", column: str) -> Floats:
    try:
        return table[column].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise CollectorError(f"power trace {path}: {column} is not a column of numbers ({error})") from error


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, skipinitialspace=True)
    except (OSError, ValueError) as error:  # parsing errors of pandas and pyarrow are ValueErrors
        raise CollectorError(f"power trace {path} cannot be read: {str(error).splitlines()[0]}") from error
