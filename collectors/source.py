"""What a power source is: something of this machine that says, when asked, how much power each of its devices draws.

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
"""Of the series `power`, one row per GPU and tick.

`power_w` is instantaneous, `average_power_w` the mean of the last second, `power_limit_w` the enforced limit and
`clock_event_reasons` NVML's bit mask. `energy_j` is the raw counter from 0 at the first sample of the series: it may
stand still, wrap or fall. Columns that hardly move may be held for half a second. The mask is below 2**53, so that it
survives in a float column where NaN is "missing".
"""

CPU_POWER_COLUMNS = ("t_s", "device", "energy_j")
"""Of the series `cpu_power`: `package-0`, `dram-0` and so on; the counter is unwrapped, from 0 at the first sample."""

PROCESS_COLUMNS = ("t_s", "device", "pid")
"""Of the series `gpu_processes`, about once a second: who computes on a GPU, as the driver names them."""

EVENT_COLUMNS = ("t_s", "device", "kind", "detail")
"""Of the series `sensor_events`; the device is empty where the whole sampler is meant."""

Series = Literal["power", "cpu_power"]
EventKind = Literal["gap", "lost", "error", "recovered", "note"]
"""`gap`: no tick for longer than the sampler promises, told when it is over. `lost`: a device does not answer.
`error`: one of its columns is not read, so it is missing. `recovered`: it is again. `note`: nothing is wrong, but
whoever reads the series must know: a column that this device never has, a part of a GPU whose power is the whole's."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one device said at one time; the mappings are by column, or by "" for all of them."""

    t_s: float
    values: Mapping[str, float]
    """Columns of the source's series, `t_s` and `device` aside; what was not read is left out."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Why a column was not read this time."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What whoever reads the series must know; the same every time."""


@dataclass(frozen=True, slots=True)
class SensorEvent:
    """One row of `sensor_events`."""

    t_s: float
    device: str
    kind: EventKind
    detail: str


class PowerSource(Protocol):
    """Sensors, open for the length of a `with` block; used by one thread."""

    @property
    def series(self) -> Series:
        """Where its rows go."""

    @property
    def devices(self) -> tuple[str, ...]:
        """The names it reads under, which are those of the rows; known before it is opened."""

    def __enter__(self) -> Self:
        """Opens the sensors.

        Raises:
            CollectorError: None of them can be opened.
        """

    def __exit__(self, *exception: object) -> None: ...

    def read(self, device: str) -> Reading:
        """One sample, now.

        Raises:
            CollectorError: Nothing of it could be read; it is asked again later.
        """

    def processes(self, device: str) -> tuple[int, ...]:
        """The pids that compute on a device now; none where that has no meaning.

        Raises:
            CollectorError: They cannot be told.
        """
