"""Recordings as stored, and summaries of complete and incomplete ones."""

import json

import numpy as np
import pytest

from benchmarks.h200.page import sensor_section
from orchestrator.errors import UserError
from orchestrator.sensor.output import draw_figure, summary_text
from orchestrator.sensor.recording import About, Call, Recording, Stage, read_recording
from orchestrator.sensor.summary import Level, Reading, SamplerFigures, Summary, Wave, summarize


@pytest.fixture
def incomplete() -> Recording:
    """A step that was polled too little to show anything."""
    about = About(date="2026-11-20", uuid="GPU-1", gpu={"name": "G", "driver": "580"}, versions={})
    about.calls = {"power_w": Call(median_s=1e-4, p99_s=3e-4), "energy_j": Call(median_s=2e-5, p99_s=2e-5)}
    about.stages = {"step": Stage(start_s=5.0, end_s=6.0, edges_s=[(5.2, 5.6)])}
    recording = Recording(about)
    recording.add("step", {"energy_j": ([5.0, 5.5, 6.0], [10.0, np.nan, 20.0])})
    return recording


def test_a_recording_is_read_as_it_was_written(incomplete, tmp_path):
    incomplete.write(tmp_path)
    read = read_recording(tmp_path)
    assert read.about == incomplete.about
    np.testing.assert_array_equal(read.series("step", "energy_j"), ([5.0, 6.0], [10.0, 20.0]))
    with pytest.raises(UserError, match=r"has no sensor\.json and sensor\.parquet"):
        read_recording(tmp_path / "elsewhere")


def test_what_an_incomplete_recording_does_not_show_is_none(incomplete, tmp_path):
    summary = summarize(incomplete)
    assert summary.readings["power_w"] == Reading(call_s=1e-4, call_p99_s=3e-4)
    assert summary.readings["energy_j"].resolution == 10.0
    assert summary.levels == {"load": Level(counter_w=None, integral_w=None, gap_ratio=None)}
    assert (summary.waves, summary.sampler) == ([], None)
    assert "| power_w " in summary_text(summary)
    draw_figure(incomplete, tmp_path / "sensor.png")
    assert (tmp_path / "sensor.png").stat().st_size > 1000


def test_the_text_and_the_page_hold_the_figures(incomplete):
    summary = Summary(
        readings={
            "power_w": Reading(
                call_s=120.4e-6,
                call_p99_s=3e-4,
                update_period_s=0.1,
                resolution=0.001,
                window_s=0.025,
                delay_s=0.01,
                r2=0.9991,
            )
        },
        levels={"context": Level(counter_w=100.0, integral_w=101.0, gap_ratio=0.01)},
        waves=[Wave(period_s=0.103, turns=38, gap_ratio=0.05, sampled_gap_ratio=-0.06, counter_error_ratio=-0.002)],
        sampler=SamplerFigures(samples=80, mean_s=0.05, p99_s=0.0512, max_s=0.06, core_ratio=0.004, gap_ratio=0.001),
    )
    incomplete.about.summary = summary.model_dump()
    incomplete.about.load = {"tflops": 700.4}
    page = sensor_section(json.loads(incomplete.about.model_dump_json()))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    assert ["power_w", "100.0", "25", "10", "0.9991", "0.001", "120 (300)"] in rows
    assert ["CUDA context, idle", "100.0", "101.0", "+1.00"] in rows
    assert ["103", "38", "-0.20", "+5.00", "-6.00"] in rows
    assert "80 samples, 50.00 ms apart (p99 51.20, longest 60.00), 0.40% of a CPU core" in page
    assert "2026-11-20: G, driver 580, matrix products at 700 TFLOP/s" in page
