import pandas as pd
import pytest
from report_sweeps import full_sweep, row_of

from orchestrator.analysis.axes import find_axes, with_plain_levels
from orchestrator.analysis.pooling import means_and_half_widths, pool
from orchestrator.report.findings import find, inert_caps, least_energy, strongest_axis
from orchestrator.report.panels import merged_label


def points_of(*cells, repeats=None):
    """Cells as (workflow, batch, cap, J/workflow, ms, cap bound)."""
    rows = []
    for index, (kind, batch, cap_w, energy, latency, bound) in enumerate(cells):
        row = {key: value for key, value in row_of("copilot", 1, 400.0).items() if "." in key or key == "status"}
        row |= {"cell_id": f"cell{index:08d}", "repeat": repeats[index] if repeats else 0}
        row |= {"workflow.kind": kind, "engine.max_num_seqs": batch, "hardware.power_limit_w": cap_w}
        rows.append(
            row | {"gpu_energy_j_per_workflow": energy, "median_workflow_ms": latency, "cap_bound_ratio": bound}
        )
    frame = with_plain_levels(pd.DataFrame(rows))
    axes = find_axes(frame)
    return pool(frame, axes), axes


SQUARE = (
    ("copilot", 1, 200, 100.0, 1000.0, 0.0),
    ("copilot", 1, 400, 100.0, 1000.0, 0.0),
    ("copilot", 16, 200, 30.0, 2000.0, 0.5),
    ("copilot", 16, 400, 40.0, 1600.0, 0.0),
)


def texts(points, axes):
    return [finding.text.replace("\u00a0", " ") for finding in find(points, axes)]


def test_what_a_hand_made_matrix_says():
    result = texts(*points_of(*SQUARE))

    assert result == [
        "Least energy: 16 seqs, 200 W, 30.0 J per workflow at 2.00 s median workflow time. Against the fastest "
        "(1 seq, 200/400 W): 70 % less energy, 100 % more time.",
        "3 of 3 distinct points make the energy\u2013latency front: 1 seq, 200/400 W; 16 seqs, 400 W; 16 seqs, 200 W.",
        "From 1 seq to 16 seqs at 400 W: GPU energy per workflow 100 J → 40.0 J (\u221260 %), "
        "median workflow time +60 %.",
        "From 400 W to 200 W at 16 seqs: GPU energy per workflow 40.0 J → 30.0 J (\u221225 %), "
        "median workflow time +25 %.",
    ]


def test_a_finding_names_the_cells_it_comes_from():
    points, _ = points_of(*SQUARE)
    assert set(least_energy(points).cells) == {"cell00000002", "cell00000000", "cell00000001"}


def test_one_point_that_is_best_at_both_is_said_to_be():
    points, axes = points_of(("chat", 1, 200, 9.0, 9.0, 0.0), ("chat", 2, 200, 8.0, 8.0, 0.0))
    assert least_energy(points).text.endswith("It is also the fastest.")
    assert texts(points, axes)[0] == least_energy(points).text.replace("\u00a0", " ")


def test_workflows_are_compared_by_how_much_an_axis_changes_them():
    points, axes = points_of(
        ("chain", 1, 400, 10.0, 1.0, 0.0),
        ("chain", 16, 400, 9.0, 1.0, 0.0),
        ("copilot", 1, 400, 10.0, 1.0, 0.0),
        ("copilot", 16, 400, 2.0, 1.0, 0.0),
    )
    assert strongest_axis(points, axes.x, axes).text.replace("\u00a0", " ") == (
        "Maximum batch size, 1 seq to 16 seqs: changes GPU energy per workflow most for copilot "
        "(\u221280 %) and least for chain (\u221210 %)."
    )


def test_a_cap_is_read_downwards_on_the_base_of_the_panels_sentences_and_the_least_between_is_named():
    cells = [
        (kind, 8, cap_w, energy, 1000.0, 0.5)
        for kind, energies in {"chat": (90.0, 70.0, 80.0, 100.0), "code": (95.0, 85.0, 75.0, 100.0)}.items()
        for cap_w, energy in zip((160, 200, 240, 400), energies, strict=True)
    ]
    result = texts(*points_of(*cells))
    assert result[0] == (
        "GPU power cap, 400 W to 160 W: changes GPU energy per workflow most for chat (\u221210 %) and least for code "
        "(\u22125.0 %). The least energy is at 200 W or 240 W in every panel."
    )
    assert (
        sum("From 400 W to 160 W: GPU energy per workflow 100 J → 90.0 J (\u221210 %)" in text for text in result) == 1
    )
    without_240 = [cell for cell in cells if cell[2] != 240 and cell[:3] != ("code", 8, 200)]
    assert texts(*points_of(*without_240))[0].endswith("(\u22125.0 %).")


def test_an_inert_cap_is_named_unless_it_is_the_highest():
    points, axes = points_of(
        ("chat", 8, 200, 30.0, 2.0, 0.9), ("chat", 8, 300, 40.0, 1.0, 0.0), ("chat", 8, 400, 40.0, 1.0, 0.0)
    )
    assert inert_caps(points, axes).text == "The cap of 300 W is inert: the clock was never held down."
    assert inert_caps(points[points["hardware.power_limit_w"] != 300], axes) is None


def test_a_cap_that_costs_no_time_is_named():
    points, axes = points_of(
        ("chat", 8, 200, 30.0, 2000.0, 0.9), ("chat", 8, 300, 35.0, 1010.0, 0.2), ("chat", 8, 400, 40.0, 1000.0, 0.0)
    )
    assert (
        "The cap can go down to 300 W for at most 2 % more time: 1.0 % more median workflow time, 12 % less energy."
        in texts(points, axes)
    )


def test_a_cap_that_bound_somewhere_is_not_inert():
    points, axes = points_of(("chat", 1, 200, 1.0, 1.0, 0.0), ("chat", 16, 200, 1.0, 1.0, 0.3))
    assert inert_caps(points, axes) is None


def test_nothing_is_said_about_an_axis_with_a_missing_corner_or_a_metric_that_is_missing():
    points, axes = points_of(*SQUARE[:3])
    assert not [text for text in texts(points, axes) if text.startswith("From")]
    assert texts(points.drop(columns=["gpu_energy_j_per_workflow", "cap_bound_ratio"]), axes) == []


def test_a_single_cell_supports_no_finding():
    assert texts(*points_of(SQUARE[0])) == []


def test_differences_within_the_intervals_of_repeats_are_not_resolved():
    noisy = [("chat", b, 400, e, t, 0.0) for b, e, t in ((1, 9.0, 2.0), (1, 11.0, 2.0), (2, 8.9, 3.0), (2, 10.9, 3.0))]
    points, axes = points_of(*noisy, repeats=[0, 1, 0, 1])
    assert list(points["n"]) == [2, 2]
    assert all("not resolved" in text for text in texts(points, axes) if "GPU energy" in text or "Least" in text)

    clear = [("chat", b, 400, e, t, 0.0) for b, e, t in ((1, 9.9, 2.0), (1, 10.1, 2.0), (2, 1.0, 3.0), (2, 1.1, 3.0))]
    assert not any("not resolved" in text for text in texts(*points_of(*clear, repeats=[0, 1, 0, 1])))


def test_intervals_are_student_t_and_a_single_value_has_none():
    values = pd.DataFrame({"a": [9.0, 10.0, 11.0, 5.0], "b": [1.0, float("nan"), 3.0, float("nan")]})
    means, halves = means_and_half_widths(values, pd.Series([0, 0, 0, 1]))
    assert means["a"].tolist() == [10.0, 5.0]
    assert halves["a"].iloc[0] == pytest.approx(4.302652729911275 / 3**0.5, rel=1e-9)
    assert halves["b"].iloc[0] == pytest.approx(12.706204736174694 * 2**0.5 / 2**0.5, rel=1e-9)
    assert means["b"].iloc[0] == 2.0
    assert halves["a"].isna().tolist() == [False, True]
    assert means["b"].isna().tolist() == [False, True]


def test_excluded_cells_change_no_point():
    view = full_sweep()
    frame = with_plain_levels(view.frame)
    points = pool(frame[frame["status"] == "ok"], find_axes(frame, view.swept))
    assert len(points) == 118
    assert not set(view.excluded["cell_id"]) & {cell for cells in points["cells"] for cell in cells}


@pytest.mark.parametrize(
    ("labels", "merged"),
    [
        (["8 seqs, 280 W"], "8 seqs, 280 W"),
        (["8 seqs, 280 W", "8 seqs, 340 W"], "8 seqs, 280/340 W"),
        (["1 seq, 200 W", "2 seqs, 200 W", "4 seqs, 200 W"], "1/2/4 seqs, 200 W"),
        (["1 seq, 2 W", "2 seqs, 2 W", "1 seq, 4 W", "2 seqs, 4 W"], "1/2 seqs, 2/4 W"),
        (["1 seq, 2 W", "2 seqs, 4 W"], "1 seq, 2 W = 2 seqs, 4 W"),
        (["rate 1", "burst 2"], "rate 1/burst 2"),
        (["1 workflow/s", "2 workflows/s"], "1/2 workflows/s"),
    ],
)
def test_points_of_equal_cost_share_a_name(labels, merged):
    assert merged_label(labels) == merged
