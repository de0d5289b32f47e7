"""Events of the sensors: each fault once when it begins and once when it ends, not at every tick."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

from collectors.source import EVENT_COLUMNS, Reading, SensorEvent

_MAX_EVENTS = 10_000
_WHOLE_DEVICE = ""
"""Key of a fault of all columns of a device."""
_NONE: Mapping[str, str] = {}


@dataclass(slots=True)
class _Fault:
    event: SensorEvent
    ended_s: float = np.inf

    def between(self, start_s: float, end_s: float) -> Iterator[SensorEvent]:
        """Yield its events of a time span; the beginning also if it was before the span and the fault still lasted."""
        if self.event.t_s <= end_s and self.ended_s >= start_s:
            yield self.event
        if start_s <= self.ended_s <= end_s:
            detail = f"after {self.ended_s - self.event.t_s:.3f} s: {self.event.detail}"
            yield SensorEvent(self.ended_s, self.event.device, "recovered", detail)


class SensorEvents:
    """The events of all devices. The oldest faults and gaps are dropped if there are very many; notes never are."""

    def __init__(self) -> None:
        self._faults: deque[_Fault] = deque(maxlen=_MAX_EVENTS)
        self._gaps: deque[tuple[float, SensorEvent]] = deque(maxlen=_MAX_EVENTS)
        self._active: dict[str, dict[str, _Fault]] = {}
        """By device and column."""
        self._active_listing: dict[str, _Fault] = {}
        """Faults of listing processes, by device."""
        self._notes: dict[tuple[str, str], SensorEvent] = {}
        self._notes_seen: dict[str, Mapping[str, str]] = {}

    def reading(self, device: str, reading: Reading) -> None:
        """Record a reading's errors and notes, and end the device's faults that it does not repeat."""
        if reading.notes is not self._notes_seen.get(device, _NONE):
            self._notes_seen[device] = reading.notes
            for column, text in reading.notes.items():
                self.note(reading.t_s, device, _detail(column, text))
        active = self._active.get(device)
        if not active and not reading.errors:
            return
        for column in list(active or ()):
            if active is not None and column not in reading.errors:
                active.pop(column).ended_s = reading.t_s
        for column, text in reading.errors.items():
            self._begin(column, SensorEvent(reading.t_s, device, "error", _detail(column, text)))

    def lost(self, t_s: float, device: str, detail: str) -> None:
        """Record that a device does not answer; an empty device is the sampler itself."""
        self._begin(_WHOLE_DEVICE, SensorEvent(t_s, device, "lost", detail))

    def listing_failed(self, t_s: float, device: str, detail: str) -> None:
        """Record that the processes on a device could not be listed."""
        if device not in self._active_listing:
            fault = _Fault(SensorEvent(t_s, device, "error", _detail("pid", detail)))
            self._active_listing[device] = fault
            self._faults.append(fault)

    def listed(self, t_s: float, device: str) -> None:
        """End a fault of listing the processes on a device."""
        fault = self._active_listing.pop(device, None)
        if fault is not None:
            fault.ended_s = t_s

    def gap(self, since_s: float, t_s: float, detail: str) -> None:
        """Record that there were no samples since an instant, until now."""
        self._gaps.append((since_s, SensorEvent(t_s, "", "gap", detail)))

    def note(self, t_s: float, device: str, detail: str) -> None:
        """Record a fact that explains the series, once."""
        self._notes.setdefault((device, detail), SensorEvent(t_s, device, "note", detail))

    def between(self, start_s: float, end_s: float) -> dict[str, npt.NDArray[np.generic]]:
        """Return the events of a time span by column, in order of time.

        Faults that lasted when it began, gaps that reach into it, and all notes are included.
        """
        faults = [event for fault in self._faults for event in fault.between(start_s, end_s)]
        gaps = [event for since_s, event in self._gaps if since_s <= end_s and event.t_s >= start_s]
        events = sorted([*self._notes.values(), *faults, *gaps], key=lambda event: event.t_s)
        columns = list(zip(*map(astuple, events), strict=True)) or [()] * len(EVENT_COLUMNS)
        kinds = (np.float64, object, object, object)
        typed = zip(EVENT_COLUMNS, columns, kinds, strict=True)
        return {name: np.array(column, dtype=kind) for name, column, kind in typed}

    def _begin(self, column: str, event: SensorEvent) -> None:
        active = self._active.setdefault(event.device, {})
        if column not in active:
            active[column] = _Fault(event)
            self._faults.append(active[column])


def _detail(column: str, text: str) -> str:
    return f"{column}: {text}" if column else text
