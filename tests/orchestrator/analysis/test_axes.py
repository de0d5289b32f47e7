import math

import pandas as pd
import pytest
from report_sweeps import full_sweep, row_of

from orchestrator.analysis.axes import Axis, find_axes, with_plain_levels


def axes_of(*configs, swept=()):
    rows = [row_of("copilot", 8, 300.0) | config for config in configs]
    return find_axes(with_plain_levels(pd.DataFrame(rows)), swept)


def keys(axes):
    return (axes.x and axes.x.key, axes.y and axes.y.key, [axis.key for axis in axes.panels])


def test_batch_and_cap_span_a_panel_for_each_workflow():
    view = full_sweep()
    axes = find_axes(with_plain_levels(view.frame), view.swept)
    assert keys(axes) == ("engine.max_num_seqs", "hardware.power_limit_w", ["workflow.kind"])
    assert axes.x.levels == (1, 2, 4, 8, 16)


def test_keys_that_only_follow_from_a_group_are_no_axes_but_swept_ones_are():
    two = ({"hardware.name": "A", "hardware.idle_power_w": 50}, {"hardware.name": "B", "hardware.idle_power_w": 60})
    assert keys(axes_of(*two)) == (None, None, ["hardware.name"])
    assert keys(axes_of(*two, swept=("hardware.idle_power_w", "hardware"))) == (
        "hardware.idle_power_w",
        None,
        ["hardware.name"],
    )


def test_the_two_numeric_axes_with_most_levels_span_and_the_others_become_panels():
    grid = [
        {"load.users": users, "engine.max_num_seqs": batch, "seed": seed, "engine.block_size": size}
        for users in (1, 2, 3)
        for batch in (1, 2)
        for size in (16, 32, 64, 128)
        for seed in (0, 1)
    ]
    assert keys(axes_of(*grid)) == ("engine.block_size", "load.users", ["engine.max_num_seqs"])


def test_the_cap_is_the_y_axis_even_where_it_has_most_levels():
    grid = [{"load.users": u, "hardware.power_limit_w": w} for u in (1, 2) for w in (100.0, 200.0, 300.0)]
    assert keys(axes_of(*grid)) == ("load.users", "hardware.power_limit_w", [])


def test_a_cap_that_was_not_set_is_the_default_in_watts():
    axes = axes_of({"hardware.power_limit_w": math.nan}, {"hardware.power_limit_w": 200.0})
    assert axes.x.levels == (200.0, 400.0)


def test_a_number_that_is_unset_in_some_cells_is_text():
    axes = axes_of({"hardware.sm_clock_mhz": math.nan}, {"hardware.sm_clock_mhz": 900.0})
    assert keys(axes) == (None, None, ["hardware.sm_clock_mhz"])
    assert axes.panels[0].levels == ("default", 900.0)


def test_lists_and_flags_are_text():
    axes = axes_of({"engine.enable_prefix_caching": True}, {"engine.enable_prefix_caching": False})
    assert [axis.label(level) for axis in axes.panels for level in axis.levels] == [
        "enable_prefix_caching True",
        "enable_prefix_caching False",
    ]
    assert axes_of({"workflow.sizes": [1, 2]}, {"workflow.sizes": [3]}).panels[0].levels == ("[1, 2]", "[3]")


@pytest.mark.parametrize(
    ("key", "level", "label"),
    [
        ("engine.max_num_seqs", 1, "1 seq"),
        ("engine.max_num_seqs", 16, "16 seqs"),
        ("hardware.power_limit_w", 240.0, "240 W"),
        ("load.users", 4, "4 users"),
        ("load.request_rate", 1.0, "1 workflow/s"),
        ("load.request_rate", 1.5, "1.5 workflows/s"),
        ("workflow.output_tokens", 50, "50 tok"),
        ("load.speedup", 2.5, "speedup 2.5"),
    ],
)
def test_levels_are_named_with_their_unit(key, level, label):
    assert Axis(key, (level,), numeric=True).label(level) == label
