"""Power source `rapl`: energy counters of CPU packages and their DRAM, from the Linux powercap framework.

A counter is in µJ and wraps to 0 after `max_energy_range_uj`, within minutes on a busy server; here it is unwrapped. A
process that is suspended for longer than that misses a wrap, which cannot be detected. Since 2020 only root may read
the counters (CVE-2020-8694); without permission there is no value, and a note says what allows it.
https://docs.kernel.org/power/powercap/powercap.html
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from collectors.errors import CollectorError
from collectors.source import Reading

_ROOT = Path("/sys/class/powercap")
_REFUSED = "{} is readable by root only: run as root, or `chmod a+r` it (a reboot undoes it)"


def build(devices: Sequence[str], path: Path | None = None) -> "RaplSource":
    """Return a source that reads the packages and DRAM of this machine.

    Cores, graphics and the platform (`psys`) are left out: they are parts of a package or contain it.

    Args:
        devices: Those to read (`package-0`, `dram-0` …); all if empty.
        path: Folder of the zones, by default /sys/class/powercap.

    Raises:
        CollectorError: There is no such counter.
    """
    root = path or _ROOT
    zones = _zones(root)
    if not zones:
        raise CollectorError(f"no CPU energy counter: {root} has no intel-rapl zone (a virtual machine has none)")
    unknown = sorted(set(devices) - zones.keys())
    if unknown:
        raise CollectorError(f"no CPU energy counter {', '.join(unknown)}: there are {', '.join(sorted(zones))}")
    return RaplSource({name: zones[name] for name in devices or sorted(zones)})


def _zones(root: Path) -> dict[str, Path]:
    """Return folders by device. AMD's are called intel-rapl too; intel-rapl-mmio repeats a package."""
    zones = {}
    for package in sorted(root.glob("intel-rapl:*")):
        name = _name(package)
        if package.name.count(":") != 1 or not name.startswith("package-"):
            continue
        zones[name] = package
        for part in root.glob(f"{package.name}:*"):
            if _name(part) == "dram":
                zones[name.replace("package", "dram", 1)] = part
    return zones


def _name(zone: Path) -> str:
    with suppress(OSError):  # a zone that has just been removed
        return (zone / "name").read_text().strip()
    return ""


class RaplSource:
    """Reads the energy counters of zones; see `PowerSource`."""

    series: Literal["cpu_power"] = "cpu_power"

    def __init__(self, zones: Mapping[str, Path]) -> None:
        self.devices = tuple(zones)
        self._zones = zones
        self._counters: dict[str, _Counter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for counter in self._counters.values():
            os.close(counter.file)
        self._counters.clear()

    def read(self, device: str) -> Reading:
        """Read one sample; without permission it has a note and no value."""
        counter = self._counters.get(device)
        try:
            if counter is None:
                counter = self._counters[device] = _opened(self._zones[device])
            return Reading(time.monotonic(), {"energy_j": counter.read() / 1e6})
        except PermissionError:
            refused = _REFUSED.format(self._zones[device] / "energy_uj")
            return Reading(time.monotonic(), {}, notes={"energy_j": refused})
        except (OSError, ValueError) as error:
            raise CollectorError(f"CPU energy of {device}: {error}") from error

    def processes(self, _device: str) -> tuple[int, ...]:
        """Return none: every process computes on a CPU."""
        return ()


@dataclass(slots=True)
class _Counter:
    """An open counter, unwrapped."""

    file: int
    range_uj: int
    last_uj: int = 0
    wrapped_uj: int = 0

    def read(self) -> int:
        now_uj = int(os.pread(self.file, 32, 0))
        if now_uj < self.last_uj:
            self.wrapped_uj += self.range_uj
        self.last_uj = now_uj
        return self.wrapped_uj + now_uj


def _opened(zone: Path) -> _Counter:
    range_uj = int((zone / "max_energy_range_uj").read_text())
    return _Counter(os.open(zone / "energy_uj", os.O_RDONLY | os.O_CLOEXEC), range_uj)
