"""The contract of a power source, and the columns of the series that are sampled.

A kind of source is one file, `collectors/sources/<kind>.py`, with a function
`build(devices: Sequence[str], path: Path | None = None) -> PowerSource`. All times are CLOCK_MONOTONIC seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self

POWER_COLUMNS = (
    "t_s",
    "device",
    "power_w",
    "energy_j",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "average_power_w",
    "temperature_c",
    "utilization_ratio",
    "clock_event_reasons",
    "power_limit_w",
)
"""Columns of the series `power`, one row per device and tick.

`power_w` is instantaneous, `average_power_w` the mean of the last second, `power_limit_w` the enforced limit and
`clock_event_reasons` NVML's bit mask. `energy_j` is the raw counter, 0 at the first sample of the series: it may stand
still, wrap or fall. Columns that change slowly may be repeated for half a second. The mask is below 2**53, so that a
float column, where NaN means missing, holds it exactly.
"""

CPU_POWER_COLUMNS = ("t_s", "device", "energy_j")
"""Columns of the series `cpu_power`. Devices are `package-0`, `dram-0` …; `energy_j` is unwrapped, 0 at the start."""

PROCESS_COLUMNS = ("t_s", "device", "pid")
"""Columns of the series `gpu_processes`: pids that compute on a GPU as the driver reports them, about once a second."""

EVENT_COLUMNS = ("t_s", "device", "kind", "detail")
"""Columns of the series `sensor_events`; the device is empty if the event is about the sampler."""

Series = Literal["power", "cpu_power"]
EventKind = Literal["gap", "lost", "error", "recovered", "note"]
"""`gap`: no tick for more than twice the period, recorded when it ends. `lost`: a device does not answer. `error`: a
column cannot be read and is missing. `recovered`: a lost device or column can be read again. `note`: a fact that
explains the series, e.g. a column that this device never has, or power of a whole GPU for a MIG instance."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One sample of one device; the mappings are by column, or by "" for the whole device."""

    t_s: float
    values: Mapping[str, float]
    """Columns of the source's series except `t_s` and `device`; a column that was not read is left out."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Why a column was not read this time."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Facts that explain the series; the same at every reading."""


@dataclass(frozen=True, slots=True)
class SensorEvent:
    """One row of the series `sensor_events`."""

    t_s: float
    device: str
    kind: EventKind
    detail: str


class PowerSource(Protocol):
    """Sensors, open for the length of a `with` block and used by one thread."""

    @property
    def series(self) -> Series:
        """Series that its rows belong to."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of its devices, as in the rows; known before it is opened."""

    def __enter__(self) -> Self:
        """Open the sensors.

        Raises:
            CollectorError: None of them can be opened.
        """

    def __exit__(self, *exception: object) -> None: ...

    def read(self, device: str) -> Reading:
        """Read one sample now.

        Raises:
            CollectorError: No column could be read; the sampler tries again later.
        """

    def processes(self, device: str) -> tuple[int, ...]:
        """Return the pids that compute on a device now; none if the device has no processes of its own.

        Raises:
            CollectorError: They cannot be read.
        """
