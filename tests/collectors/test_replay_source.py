"""A power trace from a file, replayed from now on."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collectors.errors import CollectorError
from collectors.sampler import Sampler
from collectors.sources import SourceSpec, replay


def written(tmp_path: Path, text: str, name: str = "trace.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_csv_with_other_column_names_is_replayed_from_now(tmp_path):
    path = written(tmp_path, "time_s, power\n1000.0, 100\n1010.0, 300\n1020.0, 300\n")
    with replay.build((), path) as source:
        (device,) = source.devices
        opened_s = time.monotonic()
        first = source.read(device)
        time.sleep(0.2)
        later = source.read(device)
    assert device == "TRACE-0"
    assert first.values["power_w"] == pytest.approx(100 + 20 * (first.t_s - opened_s), abs=0.5)
    assert later.values["power_w"] - first.values["power_w"] == pytest.approx(20 * (later.t_s - first.t_s), abs=1e-6)
    assert set(first.values) == {"power_w"}


def test_a_power_series_of_a_sweep_with_all_columns_and_devices(tmp_path):
    t_s = np.array([3.0, 103.0])
    table = pa.table(
        {
            "t_s": np.tile(t_s, 2),
            "device": ["GPU-x", "GPU-x", "GPU-y", "GPU-y"],
            "power_w": [100.0, 100.0, 200.0, 200.0],
            "energy_j": pa.array([0.0, 10_000.0, None, None], pa.float64()),
            "clock_event_reasons": pa.array([4, 32, 1, 1], pa.int64()),
        }
    )
    path = tmp_path / "power.parquet"
    pq.write_table(table, path)
    with replay.build((), path) as source:
        assert source.devices == ("GPU-x", "GPU-y")
        first, second = (source.read(device) for device in source.devices)
    assert first.values["power_w"] == 100.0
    assert 0 <= first.values["energy_j"] < 1000
    assert first.values["clock_event_reasons"] == 4.0
    assert second.values == {"power_w": 200.0, "clock_event_reasons": 1.0}
    assert replay.build(["GPU-1", "GPU-2"], path).devices == ("GPU-1", "GPU-2")
    assert replay.build(["GPU-1"], path).devices == ("GPU-1",)
    with pytest.raises(CollectorError, match="has 2 devices, 3 are to be replayed"):
        replay.build(["a", "b", "c"], path)


def test_a_device_is_lost_at_the_end_of_its_trace(tmp_path):
    path = written(tmp_path, "t_s,power_w\n0,50\n0.1,50\n")
    sampler = Sampler(SourceSpec("replay", (), path).build(), 0.01)
    sampler.start()
    time.sleep(0.4)
    series = sampler.take(0.0, time.monotonic())
    sampler.stop()
    assert set(series["power"]["power_w"]) == {50.0}
    assert np.ptp(series["power"]["t_s"]) <= 0.11
    assert series["sensor_events"]["detail"][-1] == f"power trace {path} of TRACE-0 ended after 0.1 s"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read: No columns to parse from file"),
        ("t_s,watts\n0,1\n1,1\n", "no column power_w; it has t_s, watts"),
        ("power_w\n1\n1\n", "no column t_s; it has power_w"),
        ("t_s,power_w\n0,1\n", "device TRACE-0: t_s must ascend over at least two rows"),
        ("t_s,power_w\n1,1\n0,1\n", "device TRACE-0: t_s must ascend"),
        ("t_s,power_w\n0,70 W\n1,70 W\n", "power_w is not a column of numbers"),
        ("t_s,power_w\n0,1\n,1\n", "t_s must ascend"),
    ],
)
def test_an_invalid_trace_is_refused_in_one_line(tmp_path, text, reason):
    path = written(tmp_path, text)
    with pytest.raises(CollectorError) as refusal:
        replay.build((), path)
    assert str(refusal.value).startswith(f"power trace {path}")
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CollectorError, match="cannot be read"):
        replay.build((), tmp_path / "none.csv")
    with pytest.raises(CollectorError, match="cannot be read"):
        replay.build((), written(tmp_path, "not parquet", "bad.parquet"))
    with pytest.raises(CollectorError, match=r"needs a file: collectors.path="):
        replay.build(())


def test_an_unknown_source_is_refused():
    with pytest.raises(CollectorError, match=r"power source 'wattmeter': no module collectors.sources.wattmeter"):
        SourceSpec("wattmeter").build()
    with pytest.raises(CollectorError, match=r"power source 'nobody.wrote.it'"):
        SourceSpec("nobody.wrote.it").build()
