"""Intervals within a window: shown where a point has one cell, named as such, and no part of what repeats tell."""

import math

import numpy as np
import pandas as pd
import pytest
from report_sweeps import row_of, view_of

from orchestrator.analysis.axes import find_axes, with_plain_levels
from orchestrator.analysis.pooling import HALF, WITHIN, pool
from orchestrator.records.metrics import BLOCK_HALF_WIDTH
from orchestrator.report.findings import find
from orchestrator.report.page import build_report
from orchestrator.report.sweep_charts import curve, heat_maps
from orchestrator.report.tables import cell_table

TOKEN = "gpu_energy_j_per_output_token"
KEY = BLOCK_HALF_WIDTH + TOKEN


def frame_of(*points, caps=(400.0,)):
    """Cells of (batch, repeats), each with an interval within its window."""
    rows = [
        row_of("copilot", batch, cap_w, repeat, **{KEY: 0.25})
        for batch, repeats in points
        for cap_w in caps
        for repeat in range(repeats)
    ]
    return rows, with_plain_levels(pd.DataFrame(rows))


def pooled(*points, caps=(400.0,)):
    _, frame = frame_of(*points, caps=caps)
    axes = find_axes(frame)
    return pool(frame, axes), axes


def test_a_point_of_one_cell_shows_the_interval_within_its_window_and_no_other_does():
    points, axes = pooled((8, 1), (16, 3))
    assert points[WITHIN + TOKEN].tolist() == pytest.approx([0.25, math.nan], nan_ok=True)
    assert np.isnan(points[HALF + TOKEN]).tolist() == [True, False]
    drawn = curve(points, axes, TOKEN, colour="black")
    assert drawn.halves == [0.25, points[HALF + TOKEN].iloc[1]]


def test_it_is_in_brackets_where_numbers_are_printed():
    points, axes = pooled((8, 1), (16, 3), caps=(200.0, 400.0))
    heat, *_ = heat_maps(points, axes.x, axes.y, TOKEN).panels[0].layers
    assert all(text.endswith("\n(± 0.25)") for text in (heat.texts[0][0], heat.texts[1][0]))
    assert "\n± " in heat.texts[0][1]


def test_no_finding_takes_it_for_one_of_repeats():
    points, axes = pooled((8, 1), (16, 1), caps=(200.0, 400.0))
    wide = points.assign(**{WITHIN + TOKEN: 1e9, WITHIN + "gpu_energy_j_per_workflow": 1e9})
    assert not [finding.text for finding in find(wide, axes) if "not resolved" in finding.text]


def test_the_page_says_which_intervals_these_are():
    rows, frame = frame_of((8, 1), (16, 1))
    page = build_report(view_of(rows)).html
    assert "± within the cell&#39;s window (95 %, by its blocks), not between repeats" in page
    assert "1 a point: intervals within windows only, none between repeats" in page
    assert ("± within the window: GPU energy per output token (J/tok)", KEY) in cell_table(
        frame, find_axes(frame)
    ).columns


def test_older_records_have_none_and_are_shown_as_before():
    rows = [row_of("copilot", batch, 400.0) for batch in (8, 16)]
    page = build_report(view_of(rows)).html
    assert "within the cell" not in page
    assert "1 a point: no intervals" in page
