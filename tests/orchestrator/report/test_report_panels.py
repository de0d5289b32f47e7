import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_sweeps import full_sweep, series_of

from orchestrator.analysis.axes import find_axes, with_plain_levels
from orchestrator.analysis.pooling import pool
from orchestrator.records.series import SCHEMAS
from orchestrator.records.text_format import number, percent, quantity
from orchestrator.report.label_placement import place_labels, view_of_front
from orchestrator.report.panels import FrontMember, FrontPanel, energy_shares, front_panels
from orchestrator.report.sweep_charts import heat_maps
from orchestrator.report.tables import front_rows
from orchestrator.report.timeline import Bar, bar_ticks, power_trace, workflow_bars


@pytest.fixture(scope="module")
def drawn():
    view = full_sweep()
    frame = with_plain_levels(view.frame)
    axes = find_axes(frame, view.swept)
    return pool(frame[frame["status"] == "ok"], axes), axes


def test_a_heat_map_puts_each_value_where_its_levels_say_and_frames_the_least(drawn):
    points, axes = drawn
    panel = heat_maps(points, axes.x, axes.y, "gpu_energy_j_per_workflow").panels[0]
    heat, *frames = panel.layers
    point = points[(points["panel"] == "chain_summary") & (points["label"] == "8 seqs, 200 W")].iloc[0]

    assert list(panel.x.ticks.items())[:3] == [(0, "1"), (1, "2"), (2, "4")]
    assert list(panel.y.ticks.values())[:2] == ["160", "200"]
    assert heat.rows[1][3] == point["gpu_energy_j_per_workflow"]
    assert heat.hover[1][3].startswith("chain_summary\nmaximum batch size (max_num_seqs): 8\nGPU power cap (W): 200\n")
    assert [(min(frame.xs), max(frame.ys)) for frame in frames] == [pytest.approx((3.53, 0.45))]
    assert math.isnan(heat.rows[3][0])
    assert heat.texts[3][0] == ""


def test_equal_least_values_are_all_framed(drawn):
    points, axes = drawn
    flat = points.assign(gpu_energy_j_per_workflow=1.0)
    _, *frames = heat_maps(flat, axes.x, axes.y, "gpu_energy_j_per_workflow").panels[1].layers
    assert len(frames) == 29


def test_a_front_has_the_fastest_and_the_least_energy_at_its_ends(drawn):
    for panel in front_panels(drawn[0]):
        assert panel.members[0].latency_s == min(panel.latencies_s)
        assert panel.members[-1].energy_j == min(panel.energies_j)


def test_costs_that_differ_by_rounding_are_one_member():
    points = pd.DataFrame(
        {
            "panel": "p",
            "label": ["1 seq, 2 W", "1 seq, 3 W"],
            "cells": [("a",), ("b",)],
            "gpu_energy_j_per_workflow": [0.1 + 0.2, 0.3],
            "median_workflow_ms": [7.0, 7.0],
        }
    )
    assert front_panels(points)[0].members == (
        FrontMember(label="1 seq, 2/3 W", latency_s=0.007, energy_j=0.3, cells=("a", "b")),
    )


COSTS = st.lists(st.tuples(st.floats(0.1, 50), st.floats(1, 5000)), min_size=1, max_size=30)


@given(COSTS)
@settings(max_examples=60, deadline=None)
def test_names_on_a_front_stay_inside_the_panel_and_apart(costs):
    members = tuple(
        FrontMember(label=f"{i} seqs, 240 W", latency_s=x, energy_j=y, cells=()) for i, (x, y) in enumerate(costs)
    )
    xs, ys = zip(*costs, strict=True)
    panel = FrontPanel(name="p", labels=("",) * len(costs), latencies_s=xs, energies_j=ys, members=members)
    view, boxes = view_of_front(panel), []
    for label in place_labels(panel):
        x = 460 * view.x.share(label.member.latency_s) + label.right_px
        y = 380 * view.y.share(label.member.energy_j) + label.up_px
        width = 6.4 * len(label.text)
        boxes.append((x if label.right_px > 0 else x - width, y, width))
    assert boxes or len(costs) > 3
    for index, (x, y, width) in enumerate(boxes):
        assert x >= 0
        assert x + width <= 460
        assert 0 <= y <= 380
        for other_x, other_y, other_width in boxes[:index]:
            assert x + width <= other_x or other_x + other_width <= x or abs(y - other_y) >= 14.9


def test_points_far_from_the_front_are_counted_not_shown():
    members = (FrontMember(label="a", latency_s=1.0, energy_j=10.0, cells=()),)
    panel = FrontPanel(
        name="p", labels=("a", "b", "c"), latencies_s=(1.0, 1.2, 9.0), energies_j=(10.0, 12.0, 11.0), members=members
    )
    view = view_of_front(panel)
    assert view.n_outside == 1
    assert view.x.share(9.0) > 1 > view.x.share(1.2)


def test_shares_of_energy_sum_to_one_and_what_is_left_is_not_attributed():
    point = pd.Series({"total_gpu_energy_j": 100.0, "prefill_energy_j": 30.0, "decode_energy_j": 50.0})
    assert energy_shares(point) == pytest.approx({"prefill": 0.3, "decode": 0.5, "not attributed": 0.2})
    assert energy_shares(pd.Series({"total_gpu_energy_j": 100.0, "idle_energy_j": 5.0})) == {}
    assert energy_shares(pd.Series({"prefill_energy_j": 5.0})) == {}


def power_table(times, watts, devices=("SIM-0",)):
    rows = [
        {"t_s": t, "device": device, "power_w": w, "energy_j": 0.0, "sm_clock_mhz": None}
        for device in devices
        for t, w in zip(times, watts, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMAS["power"])


@given(
    st.lists(st.tuples(st.just(0.0) | st.floats(0.01, 3), st.floats(0, 700)), min_size=2, max_size=60).filter(
        lambda steps: any(gap for gap, _ in steps[1:])
    ),
    st.integers(1, 40),
)
@settings(deadline=None)
def test_bins_of_power_conserve_energy_and_lie_within_the_extremes(steps, n_bins):
    times = np.cumsum([gap for gap, _ in steps])
    watts = np.array([power for _, power in steps])

    trace = power_trace(power_table(times, watts), n_bins)

    energy_j = float(np.sum(np.diff(times) * (watts[1:] + watts[:-1]) / 2))
    assert len(trace.mean_w) <= n_bins
    assert float((trace.mean_w * np.diff(trace.edges_s)).sum()) == pytest.approx(energy_j, rel=1e-9, abs=1e-6)
    assert (trace.low_w <= trace.mean_w + 1e-6).all()
    assert (trace.mean_w <= trace.high_w + 1e-6).all()
    # Of several samples at one time the first is what was before, the last what is after.
    ends = np.concatenate([watts[times == t][[0, -1]] for t in np.unique(times)])[1:-1]
    assert trace.low_w.min() == pytest.approx(ends.min())
    assert trace.high_w.max() == pytest.approx(ends.max())


def test_power_is_summed_over_devices_and_one_sample_is_no_trace():
    trace = power_trace(power_table([0.0, 1.0, 2.0], [100.0, 100.0, 100.0], ("SIM-0", "SIM-1")))
    assert trace.mean_w.tolist() == pytest.approx([200.0, 200.0])
    assert power_trace(power_table([0.0], [5.0])) is None


def test_the_workflow_drawn_has_the_most_steps_and_median_length():
    series = series_of("multi_agent_coding", 300.0)
    bars = workflow_bars(series["steps"], series["requests"])
    assert len(bars) == 10
    assert bars[0] == Bar(
        step="plan",
        role="architect",
        ready_s=0.0,
        scheduled_s=pytest.approx(0.02),
        first_token_s=pytest.approx(0.11),
        finished_s=pytest.approx(1.91),
    )
    assert [bar.step for bar in bars[-1:]] == ["merge"]
    assert list(bars[0].spans()) == ["queue", "prefill", "decode"]


def test_a_step_whose_request_is_not_known_is_one_bar():
    series = series_of("copilot", 300.0)
    bars = workflow_bars(series["steps"], series["requests"].slice(0, 0))
    assert list(bars[0].spans()) == ["running"]
    assert workflow_bars(series["steps"].slice(0, 0), series["requests"]) == ()


def test_many_steps_are_named_by_role():
    few = [Bar(step=f"s{i}", role="r", ready_s=0, scheduled_s=0, first_token_s=0, finished_s=1) for i in range(3)]
    assert bar_ticks(few) == ([0, 1, 2], ["r · s0", "r · s1", "r · s2"])
    many = [
        Bar(step=f"s{i}", role=role, ready_s=0, scheduled_s=0, first_token_s=0, finished_s=1)
        for role in ("coder", "reviewer")
        for i in range(21)
    ]
    assert bar_ticks(many) == ([10, 31], ["coder", "reviewer"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.49, "0.490"),
        (0.0314159, "0.0314"),
        (1.0, "1.00"),
        (12.34, "12.3"),
        (812.4, "812"),
        (12345.6, "12\u202f346"),
        (-0.5, "-0.500"),
        (math.nan, "\u2013"),
        (math.inf, "\u2013"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_milliseconds_become_seconds_and_changes_are_signed():
    assert quantity(999.0, "ms") == "999\u00a0ms"
    assert quantity(22500.0, "ms") == "22.5\u00a0s"
    assert percent(80.0, 100.0) == "\u221220\u00a0%"
    assert percent(100.001, 100.0) == "±0\u00a0%"
    assert percent(1.0, 0.0) == "\u2013"


def test_members_of_a_front_carry_the_intervals_of_their_repeats():
    points = pd.DataFrame(
        {
            "panel": "p",
            "label": ["1 seq, 2 W", "1 seq, 3 W", "8 seqs, 3 W"],
            "cells": [("a",), ("b",), ("c",)],
            "gpu_energy_j_per_workflow": [40.0, 40.0, 30.0],
            "half:gpu_energy_j_per_workflow": [1.5, 2.5, math.nan],
            "median_workflow_ms": [7000.0, 7000.0, 8000.0],
            "half:median_workflow_ms": [120.0, 60.0, math.nan],
        }
    )
    rows = [(latency, energy) for _, _, latency, energy, _ in front_rows(front_panels(points))]
    assert rows == [("7.00\u00a0s ± 120\u00a0ms", "40.0 J ± 2.50\u00a0J"), ("8.00\u00a0s", "30.0 J")]
