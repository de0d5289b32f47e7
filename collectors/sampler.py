"""Sample power sources at a steady period, in a thread of this process.

Ticks have absolute deadlines. A missed tick is skipped: a burst of late samples holds no information.
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
_FAILURES_BEFORE_RETRY_WAIT = 3
_RETRY_S = 1.0
_LONGEST_RETRY_S = 4.0
_MOST_DOUBLINGS = 10


class Sampler:
    """Samples power sources and keeps the newest rows in memory.

    Args:
        sources: Opened by `start`, closed by `stop`, and read by one thread.
        period_s: Time between two ticks.
        max_rows: Rows kept of each series; the oldest are dropped.
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
        """Open the sources and start sampling; only once.

        Raises:
            CollectorError: A source cannot be opened.
        """
        with ExitStack() as opened:
            for source in self._sources:
                opened.enter_context(source)
            self._open = opened.pop_all()
        self._thread.start()

    def take(self, start_s: float, end_s: float) -> dict[str, dict[str, Column]]:
        """Return the series of a time span, as columns by name; a series without a source is absent.

        Each device has also the last sample before the span and the first after it, if there are any, so that values at
        the edges can be interpolated. If ``end_s`` is now, wait for the sample after it. Missing numbers are NaN.
        `sensor_events` includes faults that lasted when the span began, and every note.
        """
        with self._lock:
            self._wait_for_tick_after(min(end_s, time.monotonic()))
            series: dict[str, dict[str, Column]] = {}
            series.update({name: rows.between(start_s, end_s) for name, rows in self._rows.items()})
            if "power" in series:
                series["gpu_processes"] = self._pids.between(start_s, end_s, beyond=False)
            self._record_missing(start_s)
            series["sensor_events"] = self._events.between(start_s, end_s)
        for name in self._rows:
            series[name]["energy_j"] = from_zero(series[name])
        return series

    def latest(self, device: str) -> dict[str, Any] | None:
        """Return the last row of a device, of any age, with the columns that were read; None before its first."""
        with self._lock:
            reading = self._latest.get(device)
        return None if reading is None else {"t_s": reading.t_s, "device": device, **reading.values}

    @property
    def running(self) -> bool:
        """Whether the thread samples."""
        return self._thread.is_alive() and not self._stop.is_set()

    def stop(self) -> None:
        """Stop sampling and close the sources; `take` still works. A second call does nothing.

        Raises:
            CollectorError: A sensor has not answered for seconds, so the thread is left running.
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
        except Exception as error:  # a supervisor: no caller joins this thread, so the series must show the error
            with self._lock:
                self._events.lost(time.monotonic(), "", f"the sampler ended: {type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._change.notify_all()

    def _tick_until_stopped(self) -> None:
        """Tick at absolute deadlines. A plain sleep costs less than waiting for the stop event, so `stop` waits."""
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
        results = [
            (source, device, _read(source, device))
            for source in self._sources
            for device in source.devices
            if self._failures.is_due(device, now_s)
        ]
        with self._lock:
            self._record_gap(now_s)
            for source, device, result in results:
                if isinstance(result, CollectorError):
                    failed_s = time.monotonic()
                    self._failures.failed(device, failed_s)
                    self._events.lost(failed_s, device, str(result))
                else:
                    self._record(source, device, result)
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

    def _record(self, source: PowerSource, device: str, reading: Reading) -> None:
        self._failures.succeeded(device)
        self._events.reading(device, reading)
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
                self._events.listing_failed(now_s, device, str(error))
            return
        with self._lock:
            for pid in pids:
                self._pids.append(now_s, device, {_PIDS: pid})
            self._events.listed(now_s, device)

    def _record_gap(self, now_s: float) -> None:
        since_s = now_s - self._ticked_s
        if _GAP_PERIODS * self.period_s < since_s < np.inf:
            detail = f"no sample for {since_s:.3f} s, one is due every {self.period_s:g} s"
            self._events.gap(self._ticked_s, now_s, detail)

    def _record_missing(self, start_s: float) -> None:
        """Record a gap that still lasts because a sensor blocks the thread, and dropped rows of a span."""
        if self.running and time.monotonic() - self._ticked_s > _WAIT_FOR_TICK_S:
            self._record_gap(time.monotonic())
        for name, rows in self._rows.items():
            if rows.dropped_until_s >= start_s:
                detail = f"{name}: only the last {rows.max_rows} samples are kept; earlier ones were dropped"
                self._events.note(rows.dropped_until_s, "", detail)


def _read(source: PowerSource, device: str) -> Reading | CollectorError:
    try:
        return source.read(device)
    except CollectorError as error:
        return error


def _without_device(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in columns if name != "device")


class Failures:
    """Consecutive failures of each device, and when to read it again: a read that fails may take long."""

    def __init__(self) -> None:
        self._in_a_row: dict[str, int] = {}
        self._retry_at_s: dict[str, float] = {}

    def __contains__(self, device: str) -> bool:
        return device in self._in_a_row

    def is_due(self, device: str, now_s: float) -> bool:
        """Return whether to read the device now."""
        return not self._retry_at_s or now_s >= self._retry_at_s.get(device, now_s)

    def failed(self, device: str, now_s: float) -> None:
        """Record a failed read; after the third in a row the device waits before the next."""
        n_failures = self._in_a_row[device] = self._in_a_row.get(device, 0) + 1
        n_retries = n_failures - _FAILURES_BEFORE_RETRY_WAIT
        if n_retries >= 0:
            wait_s = min(_RETRY_S * 2.0 ** min(n_retries, _MOST_DOUBLINGS), _LONGEST_RETRY_S)
            self._retry_at_s[device] = now_s + wait_s

    def succeeded(self, device: str) -> None:
        """Record a successful read."""
        if device in self._in_a_row:
            del self._in_a_row[device]
            self._retry_at_s.pop(device, None)
