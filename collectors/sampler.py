"""Reading power sources at a steady pace, in a thread of this process.

Ticks have absolute deadlines. One that is missed is skipped, not made up for: a burst of late samples says nothing.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from collectors.errors import CollectorError
from collectors.history import Column, History, from_zero
from collectors.sensor_events import SensorEvents
from collectors.source import CPU_POWER_COLUMNS, POWER_COLUMNS, PROCESS_COLUMNS, PowerSource, Reading

_MAX_ROWS = 1_000_000
_PROCESSES_EVERY_S = 1.0
_GAP_PERIODS = 2.0
_STOP_TIMEOUT_S = 10.0
_WAIT_FOR_TICK_S = 1.0
_LONGEST_SLEEP_S = 0.2
_PIDS = "pid"
_PATIENT_FAILURES = 3
_RETRY_S = 1.0
_LONGEST_RETRY_S = 4.0
_MOST_DOUBLINGS = 10


class Sampler:
    """Samples of some sources, the newest of them in memory.

    Args:
        sources: opened by `start`, closed by `stop`, and read by one thread.
        period_s: time between two ticks.
        max_rows: of each series; the oldest go when there are more.
    """

    def __init__(
        self, sources: PowerSource | Sequence[PowerSource], period_s: float, *, max_rows: int = _MAX_ROWS
    ) -> None:
        self._sources = tuple(sources) if isinstance(sources, Sequence) else (sources,)
        self.period_s = period_s
        kinds = {source.series for source in self._sources}
        columns = {"power": _without_device(POWER_COLUMNS), "cpu_power": _without_device(CPU_POWER_COLUMNS)}
        self._rows = {kind: History(columns[kind], max_rows) for kind in sorted(kinds)}
        self._pids = History(_without_device(PROCESS_COLUMNS), max_rows)
        self._events = SensorEvents()
        self._latest: dict[str, Reading] = {}
        self._failures = Failures()
        self._processes_due_s = self._ticked_s = -np.inf
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._n_waiting = 0
        self._stop = threading.Event()
        self._open = ExitStack()
        self._thread = threading.Thread(target=self._run, name="joulegrid-sampler", daemon=True)

    def start(self) -> None:
        """Opens the sources and begins; once.

        Raises:
            CollectorError: A source cannot be opened.
        """
        with ExitStack() as opened:
            for source in self._sources:
                opened.enter_context(source)
            self._open = opened.pop_all()
        self._thread.start()

    def take(self, start_s: float, end_s: float) -> dict[str, dict[str, Column]]:
        """The series of a span of time, columns by name; a series that has no source is absent.

        A device has a sample before the span and one after it as well, where there are any, so that values at the
        edges can be interpolated; the one after an `end_s` of just now is waited for. Missing numbers are NaN.
        `sensor_events` holds what was wrong already when the span began, and every note.
        """
        with self._lock:
            self._wait_for_tick_after(min(end_s, time.monotonic()))
            found: dict[str, dict[str, Column]] = {}
            found.update({name: rows.between(start_s, end_s) for name, rows in self._rows.items()})
            if "power" in found:
                found["gpu_processes"] = self._pids.between(start_s, end_s, beyond=False)
            self._tell_what_is_not_there(start_s)
            found["sensor_events"] = self._events.between(start_s, end_s)
        for name in self._rows:
            found[name]["energy_j"] = from_zero(found[name])
        return found

    def latest(self, device: str) -> dict[str, Any] | None:
        """The last row of a device, however old its `t_s`, with the columns that were read; None before its first."""
        with self._lock:
            reading = self._latest.get(device)
        return None if reading is None else {"t_s": reading.t_s, "device": device, **reading.values}

    @property
    def running(self) -> bool:
        """Whether it samples."""
        return self._thread.is_alive() and not self._stop.is_set()

    def stop(self) -> None:
        """Ends sampling and closes the sources; what was sampled can still be taken. Again, it does nothing.

        Raises:
            CollectorError: A sensor has not answered for seconds, so the thread is left behind.
        """
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise CollectorError(f"the sampler does not end: a sensor has not answered for {_STOP_TIMEOUT_S:g} s")
        self._open.close()

    def _run(self) -> None:
        try:
            self._tick_until_stopped()
        except Exception as error:  # nobody waits for this thread: whoever takes the samples must hear of it
            with self._lock:
                self._events.lost(time.monotonic(), "", f"the sampler ended: {type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._change.notify_all()

    def _tick_until_stopped(self) -> None:
        """A plain sleep, which costs less than to wait for `stop`; that waits for us instead."""
        began_s = time.monotonic()
        n_ticks = 0
        while not self._stop.is_set():
            left_s = began_s + n_ticks * self.period_s - time.monotonic()
            if left_s > 0:
                time.sleep(min(left_s, _LONGEST_SLEEP_S))
                if left_s > _LONGEST_SLEEP_S:
                    continue
            self._tick()
            n_ticks = max(n_ticks, int((time.monotonic() - began_s) / self.period_s)) + 1

    def _tick(self) -> None:
        now_s = time.monotonic()
        answers = [
            (source, device, _answer(source, device))
            for source in self._sources
            for device in source.devices
            if self._failures.is_due(device, now_s)
        ]
        with self._lock:
            self._tell_of_gap(now_s)
            for source, device, answer in answers:
                if isinstance(answer, CollectorError):
                    failed_s = time.monotonic()
                    self._failures.failed(device, failed_s)
                    self._events.lost(failed_s, device, str(answer))
                else:
                    self._keep(source, device, answer)
            self._ticked_s = now_s
            if self._n_waiting:
                self._change.notify_all()
        if now_s >= self._processes_due_s:
            self._processes_due_s = now_s + _PROCESSES_EVERY_S
            self._read_processes()

    def _wait_for_tick_after(self, when_s: float) -> None:
        self._n_waiting += 1
        self._change.wait_for(lambda: self._ticked_s > when_s or not self.running, timeout=_WAIT_FOR_TICK_S)
        self._n_waiting -= 1

    def _keep(self, source: PowerSource, device: str, reading: Reading) -> None:
        self._failures.answered(device)
        self._events.answered(device, reading)
        if reading.values:
            self._rows[source.series].append(reading.t_s, device, reading.values)
            self._latest[device] = reading

    def _read_processes(self) -> None:
        for source in self._sources:
            for device in source.devices:
                if device not in self._failures:
                    self._read_processes_of(source, device)

    def _read_processes_of(self, source: PowerSource, device: str) -> None:
        now_s = time.monotonic()
        try:
            pids = source.processes(device)
        except CollectorError as error:
            with self._lock:
                self._events.processes_failed(now_s, device, str(error))
            return
        with self._lock:
            for pid in pids:
                self._pids.append(now_s, device, {_PIDS: pid})
            self._events.processes_told(now_s, device)

    def _tell_of_gap(self, now_s: float) -> None:
        since_s = now_s - self._ticked_s
        if _GAP_PERIODS * self.period_s < since_s < np.inf:
            told = f"no sample for {since_s:.3f} s, one is due every {self.period_s:g} s"
            self._events.gap(self._ticked_s, now_s, told)

    def _tell_what_is_not_there(self, start_s: float) -> None:
        """A sensor that keeps the thread waiting right now, and samples that were let go."""
        if self.running and time.monotonic() - self._ticked_s > _WAIT_FOR_TICK_S:
            self._tell_of_gap(time.monotonic())
        for name, rows in self._rows.items():
            if rows.forgotten_until_s >= start_s:
                told = f"{name}: {rows.max_rows} samples are kept, those before this are gone"
                self._events.note(rows.forgotten_until_s, "", told)


def _answer(source: PowerSource, device: str) -> Reading | CollectorError:
    try:
        return source.read(device)
    except CollectorError as error:
        return error


def _without_device(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in columns if name != "device")


class Failures:
    """Of each device, how often in a row it has failed, and when it is asked again: an answer may take time to fail."""

    def __init__(self) -> None:
        self._in_a_row: dict[str, int] = {}
        self._retry_at_s: dict[str, float] = {}

    def __contains__(self, device: str) -> bool:
        return device in self._in_a_row

    def is_due(self, device: str, now_s: float) -> bool:
        """Whether it is to be asked now."""
        return not self._retry_at_s or now_s >= self._retry_at_s.get(device, now_s)

    def failed(self, device: str, now_s: float) -> None:
        """It has not answered."""
        n_failures = self._in_a_row[device] = self._in_a_row.get(device, 0) + 1
        n_retries = n_failures - _PATIENT_FAILURES
        if n_retries >= 0:
            wait_s = min(_RETRY_S * 2.0 ** min(n_retries, _MOST_DOUBLINGS), _LONGEST_RETRY_S)
            self._retry_at_s[device] = now_s + wait_s

    def answered(self, device: str) -> None:
        """It has."""
        if device in self._in_a_row:
            del self._in_a_row[device]
            self._retry_at_s.pop(device, None)
