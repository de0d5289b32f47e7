"""A run on the fake GPU, whose sensor is known, from the command line; and what is told where things are missing."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.h200 import sensor_page
from benchmarks.h200.sensor_figure import sensor_figure
from benchmarks.h200.sensor_found import found_in
from benchmarks.h200.sensor_load import Load, Missing, wave
from benchmarks.h200.sensor_recording import Recording, read_recording
from tests.benchmarks.h200.fake_load import BUSY_W, REST_W
from tests.fake_nvml.fake_gpus import SENSED_H200, FakeGpus, Nvml
from tests.fake_nvml.layout import CallClass

ROOT = Path(__file__).parents[3]
IDLE_W = SENSED_H200.idle_power_w
FAKE_LOAD = "tests.benchmarks.h200.fake_load"


def _run(machine: FakeGpus, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.h200.sensor", *arguments]
    environment = {**machine.env, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
def test_the_sensor_of_the_fake_h200_is_found(make_fake_gpus, tmp_path):
    machine = make_fake_gpus([SENSED_H200])
    machine[0].fail(CallClass.TEMPERATURE, Nvml.NOT_SUPPORTED)
    ended = _run(machine, "--out", str(tmp_path / "out"), "--load", FAKE_LOAD, "--share", "0.2")
    assert ended.returncode == 0, ended.stderr
    kept = json.loads((tmp_path / "out" / "sensor.json").read_text())
    found = kept["found"]
    assert kept["queries"]["temperature_c"] == {"error": "NVMLError_NotSupported"}
    assert found["renewal"]["instant_mw"]["median_s"] == pytest.approx(0.1, abs=0.01)
    assert found["renewal"]["energy_mj"]["median_s"] == pytest.approx(0.1, abs=0.01)
    assert found["windows"]["instant_mw"]["window_s"] == pytest.approx(0.025, abs=0.006)
    assert found["windows"]["average_mw"]["window_s"] == pytest.approx(1.0, abs=0.06)
    assert found["counter"]["high"] == pytest.approx(BUSY_W * 1e3, rel=0.01)
    assert {name: round(each["instant_mw"] / 1e3) for name, each in found["levels"].items()} == {
        "idle_slow": IDLE_W,
        "idle": IDLE_W,
        "context": REST_W,
        "load": BUSY_W,
    }
    assert [each["period_s"] for each in found["waves"]] == [0.021, 0.053, 0.103, 0.207, 0.507, 2.03]
    assert all(each["counter_over_levels"] == pytest.approx(0, abs=0.02) for each in found["waves"])
    assert found["waves"][0]["swing_share"] < found["waves"][3]["swing_share"] == pytest.approx(1.0, abs=0.05)
    assert found["samplers"]["sampler_thread"]["mean_s"] == pytest.approx(0.05, rel=0.2)
    assert not machine.set_calls
    again = found_in(read_recording(tmp_path / "out"))
    assert again["windows"]["instant_mw"]["window_s"] == pytest.approx(
        found["windows"]["instant_mw"]["window_s"], abs=1e-3
    )


@pytest.mark.slow
def test_what_there_is_no_time_for_is_left_out(make_fake_gpus, tmp_path):
    machine = make_fake_gpus([SENSED_H200])
    ended = _run(machine, "--out", str(tmp_path / "out"), "--load", FAKE_LOAD, "--share", "0.1", "--limit-s", "4")
    assert ended.returncode == 0, ended.stderr
    kept = json.loads((tmp_path / "out" / "sensor.json").read_text())
    assert kept["stages"]["wave_507ms"] == {"skipped": "no time was left"}
    assert kept["found"]["levels"]["idle"]["instant_mw"] == IDLE_W * 1e3
    assert "stage wave_507ms (no time was left)" in sensor_page.sensor_section(kept)


@pytest.mark.slow
def test_a_machine_without_torch_is_told_in_a_line_after_what_needs_none(make_fake_gpus, tmp_path):
    absent = tmp_path / "benchless.py"
    absent.write_text('print(\'{"missing": "no torch: not here"}\')')
    machine = make_fake_gpus([SENSED_H200])
    environment = {**machine.env, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    command = [sys.executable, "-m", "benchmarks.h200.sensor", "--out", str(tmp_path / "out"), "--share", "0.1"]
    ended = subprocess.run(
        [*command, "--load", "benchless"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (3, "no torch: not here\n")
    levels = json.loads((tmp_path / "out" / "sensor.json").read_text())["found"]["levels"]
    assert levels["idle"]["instant_mw"] == pytest.approx(77_000)


def test_a_machine_without_a_gpu_is_told_in_a_line(fake_gpus, tmp_path):
    fake_gpus.fail_init(Nvml.DRIVER_NOT_LOADED)
    ended = _run(fake_gpus, "--out", str(tmp_path / "out"))
    assert (ended.returncode, ended.stderr) == (3, "no GPU 0: Driver Not Loaded\n")


def test_a_load_that_ends_or_hangs_is_missing():
    with Load("benchmarks.h200.no_such_module", 0, 20.0) as load, pytest.raises(Missing, match="exit status 1"):
        load.ready()
    with Load("asyncio", 0, 0.1) as load, pytest.raises(Missing, match="exit status -9"):
        load.ready()


@pytest.mark.slow
def test_an_answer_that_nobody_took_is_let_go(make_fake_gpus, monkeypatch):
    for name, value in make_fake_gpus([SENSED_H200]).variables.items():
        monkeypatch.setenv(name, value)
    with Load(FAKE_LOAD, 0, 20.0) as load:
        load.ready()
        load.begin(time.monotonic(), 0.01, 0.0, 1)
        load.begin(time.monotonic(), 0.01, 0.01, 2)
        assert len(load.edges_s()) == 2


def test_a_wave_begins_each_turn_at_its_own_time():
    class Late:
        def open(self):
            return {}

        def busy(self, until_s):
            return until_s + 0.004

    edges_s = wave(Late(), begin_s=0.0, on_s=0.01, off_s=0.01, turns=3)
    assert [off_s for _, off_s in edges_s] == pytest.approx([0.014, 0.034, 0.054])


def _recording() -> Recording:
    """A step of a minute ago, polled too little to tell anything."""
    recording = Recording(origin_s=5.0, facts={"date": "d", "name": "G", "driver": {"error": "E"}, "vbios": "v"})
    recording.facts["limit_mw"] = 700_000
    recording.queries = {"instant_mw": {"error": "NVMLError_NotSupported"}}
    recording.add("step", {"energy_mj": ([5.0, 6.0], [10, 20])})
    recording.stages = {"step": {"start_s": 0.0, "end_s": 1.0, "edges_s": [[0.2, 0.6]], "on_s": 0.4, "off_s": 0.0}}
    return recording


def test_a_recording_is_read_as_it_was_written(tmp_path):
    recording = _recording()
    recording.write(tmp_path, {})
    read = read_recording(tmp_path)
    assert (read.stages, read.facts, read.origin_s) == (recording.stages, recording.facts, 5.0)
    np.testing.assert_array_equal(read.series("step", "energy_mj"), ([0.0, 1.0], [10.0, 20.0]))


def test_the_section_says_what_is_missing(tmp_path):
    recording = _recording()
    recording.write(tmp_path, found_in(recording))
    section = sensor_page.sensor_section(json.loads((tmp_path / "sensor.json").read_text()))
    assert "| `POWER_INSTANT` | NVMLError_NotSupported |" in section
    assert "driver unknown" in section
    assert "Missing: instant_mw (NVMLError_NotSupported), driver (E)." in section
    sensor_figure(recording, tmp_path / "sensor.png")
    assert (tmp_path / "sensor.png").stat().st_size > 1000


def test_the_section_holds_the_figures():
    window = {"window_s": 0.025, "delay_s": 0.01, "low": 1.0, "high": 2.0, "r2": 0.9991}
    edge = {"t10_s": 0.03, "t50_s": 0.05, "t90_s": 0.06, "from_value": 1.0, "to_value": 2.0}
    level = {"counter_mw": 100_000, "instant_mw": 101_000, "gap": 0.01, "sm_clock_mhz": 1980, "temperature_c": 40}
    wave_found = {
        "period_s": 0.103,
        "turns": 38,
        "counter_over_levels": -0.002,
        "gap": 0.05,
        "gap_at_50ms": -0.06,
        "swing_share": 0.9,
    }
    sampler = {"samples": 80, "mean_s": 0.05, "p99_s": 0.0512, "worst_s": 0.06, "core_share": 0.004, "gap": 0.001}
    renewal = {"median_s": 0.1, "p10_s": 0.099, "p90_s": 0.2, "polled_s": 0.002, "resolution": 1}
    kept = {
        "facts": {"date": "d", "name": "G", "driver": "580", "vbios": "v", "limit_mw": 700_000},
        "load": {"size": 4096, "tflops": 700.4},
        "queries": {"instant_mw": {"median_us": 120.4, "p99_us": 300.0}},
        "stages": {},
        "found": {
            "renewal": {"instant_mw": renewal, "sm_clock_mhz": {**renewal, "polled_s": 0.06}},
            "windows": {"instant_mw": window},
            "counter": None,
            "steps": {"step up instant_mw": [edge], "wave_2030ms up instant_mw": [{**edge, "t90_s": 0.1}, None]},
            "levels": {"context": level},
            "decay": [{"from_s": 0.5, "to_s": 1.0, **level}],
            "waves": [wave_found],
            "samplers": {"sampler_process": sampler},
        },
    }
    section = sensor_page.sensor_section(kept)
    assert "| `POWER_INSTANT` | 120 (300) | 100.0 (99.0 to 200.0) | 1 mW | 25 | 10 (0.9991) |" in section
    assert "| SM clock |  | at most 60.0 |" in section
    assert "`POWER_INSTANT` looks at 25% of the time, 25 of every 100 ms" in section
    assert "- `POWER_INSTANT`: up 10 % after 30 ms and 90 % after 60 to 100 ms (2 edges)" in section
    assert "| a CUDA context, at rest | 100.0 | 101.0 | +1.00 % | 1980 | 40 |" in section
    assert "| 0.5 to 1 s after it | 100.0 |" in section
    assert "| 103 | 38 | -0.20 % | +5.00 % | -6.00 % | 90 % |" in section
    assert "| in a process of its own | 80 | 50.00 | 51.20 | 60.00 | 0.40% | +0.10 % |" in section
    assert "Missing" not in section
