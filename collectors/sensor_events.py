"""What is wrong with the sensors, told when it begins and when it is over, and not at every tick in between."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

from collectors.source import EVENT_COLUMNS, Reading, SensorEvent

_MAX_EVENTS = 10_000
_ALL = ""
"""Stands for all columns of a device."""
_NONE: Mapping[str, str] = {}


@dataclass(slots=True)
class _Trouble:
    began: SensorEvent
    over_s: float = np.inf

    def within(self, start_s: float, end_s: float) -> Iterator[SensorEvent]:
        """Its events in a span of time; what was wrong already when the span began counts."""
        if self.began.t_s <= end_s and self.over_s >= start_s:
            yield self.began
        if start_s <= self.over_s <= end_s:
            detail = f"after {self.over_s - self.began.t_s:.3f} s: {self.began.detail}"
            yield SensorEvent(self.over_s, self.began.device, "recovered", detail)


class SensorEvents:
    """The events of all devices, the oldest forgotten where there are very many; notes never are."""

    def __init__(self) -> None:
        self._troubles: deque[_Trouble] = deque(maxlen=_MAX_EVENTS)
        self._gaps: deque[tuple[float, SensorEvent]] = deque(maxlen=_MAX_EVENTS)
        self._now: dict[str, dict[str, _Trouble]] = {}
        self._unlisted: dict[str, _Trouble] = {}
        self._notes: dict[tuple[str, str], SensorEvent] = {}
        self._notes_seen: dict[str, Mapping[str, str]] = {}

    def answered(self, device: str, reading: Reading) -> None:
        """A device was read; whatever was wrong with it is over unless the reading says it again."""
        if reading.notes is not self._notes_seen.get(device, _NONE):
            self._notes_seen[device] = reading.notes
            for column, text in reading.notes.items():
                self.note(reading.t_s, device, _told(column, text))
        now = self._now.get(device)
        if not now and not reading.errors:
            return
        for column in list(now or ()):
            if now is not None and column not in reading.errors:
                now.pop(column).over_s = reading.t_s
        for column, text in reading.errors.items():
            self._begin(column, SensorEvent(reading.t_s, device, "error", _told(column, text)))

    def lost(self, t_s: float, device: str, detail: str) -> None:
        """A device does not answer; an empty device is the sampler itself."""
        self._begin(_ALL, SensorEvent(t_s, device, "lost", detail))

    def processes_failed(self, t_s: float, device: str, detail: str) -> None:
        """Who computes on a device was not told."""
        if device not in self._unlisted:
            self._unlisted[device] = _Trouble(SensorEvent(t_s, device, "error", _told("pid", detail)))
            self._troubles.append(self._unlisted[device])

    def processes_told(self, t_s: float, device: str) -> None:
        """Who computes on a device was told."""
        trouble = self._unlisted.pop(device, None)
        if trouble is not None:
            trouble.over_s = t_s

    def gap(self, since_s: float, t_s: float, detail: str) -> None:
        """There were no samples since an instant, until now."""
        self._gaps.append((since_s, SensorEvent(t_s, "", "gap", detail)))

    def note(self, t_s: float, device: str, detail: str) -> None:
        """Something to know, told once."""
        self._notes.setdefault((device, detail), SensorEvent(t_s, device, "note", detail))

    def between(self, start_s: float, end_s: float) -> dict[str, npt.NDArray[np.generic]]:
        """Events of a span of time, what was wrong when it began, gaps that reach into it, and every note; by time."""
        told = [event for trouble in self._troubles for event in trouble.within(start_s, end_s)]
        gaps = [event for since_s, event in self._gaps if since_s <= end_s and event.t_s >= start_s]
        rows = [astuple(event) for event in sorted([*self._notes.values(), *told, *gaps], key=_time)]
        columns = list(zip(*rows, strict=True)) or [()] * len(EVENT_COLUMNS)
        kinds = (np.float64, object, object, object)
        typed = zip(EVENT_COLUMNS, columns, kinds, strict=True)
        return {name: np.array(column, dtype=kind) for name, column, kind in typed}

    def _begin(self, column: str, event: SensorEvent) -> None:
        now = self._now.setdefault(event.device, {})
        if column not in now:
            now[column] = _Trouble(event)
            self._troubles.append(now[column])


def _told(column: str, text: str) -> str:
    return f"{column}: {text}" if column else text


def _time(event: SensorEvent) -> float:
    return event.t_s
