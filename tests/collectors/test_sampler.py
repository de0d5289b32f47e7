"""Sampling sources: the rows that are kept, and the events of faults."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from collectors.errors import CollectorError, GpuLost
from collectors.sampler import Failures, Sampler
from collectors.source import Reading
from tests.collectors.played_source import PlayedSource, failing, steady

PERIOD_S = 0.01


@contextmanager
def sampling(*sources: PlayedSource, period_s: float = PERIOD_S, **options: int) -> Iterator[Sampler]:
    sampler = Sampler(sources, period_s, **options)
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()


def until(met: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 20
    while not met():
        assert time.monotonic() < give_up_s, "timeout"
        time.sleep(PERIOD_S)


def has_read(source: PlayedSource, device: str, n: int) -> Callable[[], bool]:
    """Return a check of whether ``n`` more readings of a device have ended."""
    n_reads = len(source.read_at_s[device]) + n + 1
    return lambda: len(source.read_at_s[device]) >= n_reads


def events(sampler: Sampler, start_s: float = 0.0) -> list[tuple[str, str, str]]:
    table = sampler.take(start_s, time.monotonic())["sensor_events"]
    return list(zip(table["device"], table["kind"], table["detail"], strict=True))


def kinds(sampler: Sampler) -> list[str]:
    return [kind for _, kind, _ in events(sampler) if kind != "gap"]


def test_every_device_of_every_source_has_its_rows_in_its_series():
    gpus = PlayedSource({"GPU-a": steady(100.0, sm_clock_mhz=1980.0), "GPU-b": steady(200.0)})
    cpu = PlayedSource({"package-0": lambda now_s: Reading(now_s, {"energy_j": now_s})}, series="cpu_power")
    with sampling(gpus, cpu) as sampler:
        until(has_read(gpus, "GPU-b", 5))
        series = sampler.take(0.0, time.monotonic())
    power = series["power"]
    assert {*power} >= {"t_s", "device", "power_w", "energy_j", "clock_event_reasons", "power_limit_w"}
    for device, power_w, clock_mhz in (("GPU-a", 100.0, 1980.0), ("GPU-b", 200.0, np.nan)):
        own = power["device"] == device
        assert own.sum() >= 5
        assert set(power["power_w"][own]) == {power_w}
        np.testing.assert_array_equal(np.unique(power["sm_clock_mhz"][own]), [clock_mhz])
        np.testing.assert_array_equal(power["t_s"][own], gpus.read_at_s[device][: own.sum()])
    assert np.isnan(power["energy_j"]).all()
    assert set(series["cpu_power"]) == {"t_s", "device", "energy_j"}
    assert series["cpu_power"]["energy_j"][0] == 0
    np.testing.assert_allclose(np.diff(series["cpu_power"]["energy_j"]), np.diff(series["cpu_power"]["t_s"]), atol=1e-6)


def test_a_series_without_a_source_is_absent():
    with sampling(PlayedSource({"package-0": steady()}, series="cpu_power")) as sampler:
        assert set(sampler.take(0.0, time.monotonic())) == {"cpu_power", "sensor_events"}


def test_a_span_has_a_sample_before_it_and_waits_for_one_after_it():
    source = PlayedSource({"a": steady(), "b": steady()})
    with sampling(source) as sampler:
        until(has_read(source, "b", 3))
        start_s = time.monotonic()
        until(has_read(source, "b", 3))
        end_s = time.monotonic()
        power = sampler.take(start_s, end_s)["power"]
    for device in "ab":
        t_s = power["t_s"][power["device"] == device]
        assert (t_s < start_s).sum() == 1
        assert (t_s > end_s).sum() == 1
        assert len(t_s) > 3


def test_counters_begin_at_zero_and_are_otherwise_as_read():
    readings = iter([5.0, 7.0, 3.0, 9.0])
    source = PlayedSource({"a": lambda now_s: Reading(now_s, {"energy_j": next(readings, 9.0)})})
    with sampling(source) as sampler:
        until(has_read(source, "a", 5))
        energy_j = sampler.take(0.0, time.monotonic())["power"]["energy_j"]
    np.testing.assert_array_equal(energy_j[:5], [0, 2, -2, 4, 4])


def test_missed_ticks_are_recorded_and_skipped():
    slow = iter([0.0, 0.0, 0.5])

    def read(now_s: float) -> Reading:
        time.sleep(next(slow, 0.0))
        return Reading(now_s, {"power_w": 1.0})

    source = PlayedSource({"a": read})
    with sampling(source) as sampler:
        until(has_read(source, "a", 10))
        gaps = [detail for _, kind, detail in events(sampler) if kind == "gap"]
        read_s = source.read_at_s["a"]
    lengths_s = [float(detail.split()[3]) for detail in gaps]
    assert max(lengths_s) >= 0.5
    assert "one is due every 0.01 s" in gaps[0]
    assert len(read_s) <= (read_s[-1] - read_s[0] - 0.5) / PERIOD_S + 2


def test_a_sensor_that_blocks_is_a_gap_until_now():
    blocked = threading.Event()

    def read(now_s: float) -> Reading:
        if len(source.read_at_s["a"]) == 3:
            blocked.wait(20)
        return Reading(now_s, {"power_w": 1.0})

    source = PlayedSource({"a": read})
    with sampling(source) as sampler:
        until(lambda: len(source.read_at_s["a"]) == 3)
        table = sampler.take(0.0, time.monotonic())["sensor_events"]
        blocked.set()
    assert table["kind"][-1] == "gap"
    assert float(table["detail"][-1].split()[3]) >= 1.0


def test_a_lost_device_has_one_event_when_it_is_lost_and_one_when_it_is_back():
    source = PlayedSource({"a": steady(), "b": failing(GpuLost("GPU b: the driver says gpu is lost"))})
    with sampling(source) as sampler:
        until(has_read(source, "a", 20))
        assert [each for each in events(sampler) if each[1] != "gap"] == [
            ("b", "lost", "GPU b: the driver says gpu is lost")
        ]
        assert sampler.latest("b") is None
        assert len(source.read_at_s["b"]) < len(source.read_at_s["a"])
        source.answers["b"] = steady(50.0)
        until(has_read(source, "b", 2))
        assert kinds(sampler) == ["lost", "recovered"]
        (detail,) = [detail for _, kind, detail in events(sampler) if kind == "recovered"]
        latest = sampler.latest("b")
    assert detail.endswith("s: GPU b: the driver says gpu is lost")
    assert latest is not None
    assert latest["power_w"] == 50.0


def test_one_failure_does_not_make_a_device_wait():
    source = PlayedSource({"a": failing(CollectorError("timeout"))})
    with sampling(source) as sampler:
        until(lambda: len(source.read_at_s["a"]) >= 2)
        source.answers["a"] = steady()
        until(lambda: sampler.latest("a") is not None)
    first_s, *_, after_s = source.read_at_s["a"][:3]
    assert after_s - first_s < 1.0


def test_a_column_that_fails_is_an_event_and_the_rest_of_its_row_is_kept():
    def failed(now_s: float) -> Reading:
        return Reading(now_s, {"power_w": 7.0}, errors={"energy_j": "the driver says timeout"})

    source = PlayedSource({"a": failed})
    with sampling(source) as sampler:
        until(has_read(source, "a", 3))
        assert [each for each in events(sampler) if each[1] != "gap"] == [
            ("a", "error", "energy_j: the driver says timeout")
        ]
        power = sampler.take(0.0, time.monotonic())["power"]
        assert set(power["power_w"]) == {7.0}
        assert np.isnan(power["energy_j"]).all()
        source.answers["a"] = steady()
        until(has_read(source, "a", 2))
        assert kinds(sampler) == ["error", "recovered"]


def test_a_span_includes_faults_that_began_before_it_and_every_note():
    def noted(now_s: float) -> Reading:
        return Reading(now_s, {"power_w": 7.0}, {"energy_j": "timeout"}, {"": "the whole GPU's"})

    source = PlayedSource({"a": noted})
    with sampling(source) as sampler:
        until(has_read(source, "a", 5))
        rows = events(sampler, start_s=time.monotonic())
    assert [each for each in rows if each[1] != "gap"] == [
        ("a", "note", "the whole GPU's"),
        ("a", "error", "energy_j: timeout"),
    ]


def test_processes_are_listed_once_a_second_and_a_refusal_is_an_event():
    source = PlayedSource({"a": steady(), "b": steady()})
    source.pids = {"a": (11, 12), "b": CollectorError("the driver says no permission")}
    began_s = time.monotonic()
    with sampling(source) as sampler:
        until(has_read(source, "a", 30))
        series = sampler.take(0.0, time.monotonic())
        passed_s = time.monotonic() - began_s
    listed = series["gpu_processes"]
    assert list(zip(listed["device"], listed["pid"], strict=True))[:2] == [("a", 11), ("a", 12)]
    assert 2 <= source.n_listings <= 2 * (passed_s + 1)
    assert ("b", "error", "pid: the driver says no permission") in list(
        zip(*(series["sensor_events"][name] for name in ("device", "kind", "detail")), strict=True)
    )


def test_memory_is_bounded_and_dropped_rows_are_noted():
    source = PlayedSource({"a": steady()})
    with sampling(source, period_s=0.0001, max_rows=4096) as sampler:
        until(lambda: len(source.read_at_s["a"]) > 8200)
        series = sampler.take(0.0, time.monotonic())
        recent = sampler.take(time.monotonic(), time.monotonic())
    assert len(series["power"]["t_s"]) <= 2 * 4096
    assert "power: only the last 4096 samples are kept; earlier ones were dropped" in series["sensor_events"]["detail"]
    assert len(recent["power"]["t_s"]) >= 1


def test_an_unexpected_error_ends_sampling_and_is_an_event():
    source = PlayedSource({"a": failing(ZeroDivisionError("a bug"))})
    with sampling(source) as sampler:
        until(lambda: not sampler.running)
        assert events(sampler) == [("", "lost", "the sampler ended: ZeroDivisionError: a bug")]


def test_sources_are_closed_when_it_stops_and_when_one_of_them_cannot_be_opened():
    class Closed(PlayedSource):
        def __enter__(self):
            raise CollectorError("no driver")

    source = PlayedSource({"a": steady()})
    with pytest.raises(CollectorError, match="no driver"):
        Sampler([source, Closed({})], PERIOD_S).start()
    assert source.n_open == 0
    with sampling(source) as sampler:
        assert source.n_open == 1
        until(has_read(source, "a", 2))
    assert source.n_open == 0
    assert len(sampler.take(0.0, time.monotonic())["power"]["t_s"]) >= 2
    sampler.stop()


def _read_at_s(failures: Failures, until_s: float, tick_s: float = 0.05) -> list[float]:
    """Return when the device is read, if it fails each time."""
    read_s = []
    for tick in range(int(until_s / tick_s)):
        now_s = tick * tick_s
        if failures.is_due("a", now_s):
            read_s.append(round(now_s, 3))
            failures.failed("a", now_s)
    return read_s


def test_a_failing_device_is_read_three_times_at_once_and_then_less_often():
    assert _read_at_s(Failures(), 16) == [0.0, 0.05, 0.1, 1.1, 3.1, 7.1, 11.1, 15.1]


def test_other_devices_do_not_wait_and_a_success_resets_the_count():
    failures = Failures()
    for _ in range(5):
        failures.failed("a", 10.0)
    assert "a" in failures
    assert (failures.is_due("a", 10.5), failures.is_due("b", 10.5)) == (False, True)
    failures.succeeded("a")
    assert "a" not in failures
    assert failures.is_due("a", 10.5)
