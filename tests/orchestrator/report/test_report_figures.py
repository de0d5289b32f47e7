"""The figures of a report: which there are, what they say, and what is left out."""

import re
from dataclasses import replace

import pytest
from report_html import Page
from report_sweeps import full_sweep, row_of, view_of

from orchestrator.errors import UserError
from orchestrator.records.metrics import BY_KEY
from orchestrator.report.page import build_report


def test_png_titles_carry_the_mark_of_simulation():
    rows = [row_of("copilot", batch, 300.0) for batch in (1, 2, 4)]
    marked = build_report(view_of(rows)).pngs
    plain = build_report(view_of([row | {"simulated": False} for row in rows])).pngs
    assert all(marked[name] != plain[name] for name in marked)


def test_heat_maps_print_the_interval_of_repeats():
    rows = [
        row_of("copilot", *at, repeat) for at in ((1, 200.0), (1, 300.0), (2, 200.0), (2, 300.0)) for repeat in range(3)
    ]
    html = build_report(view_of(rows)).html
    drawn = re.search(r'id="plot-energy_per_workflow".*?</script>', html, re.DOTALL)[0]
    assert len(re.findall(r"742\\u003cbr\\u003e\\u00b1 3\.1", drawn)) == 2
    assert "Means of repeats ± half the 95 % t interval." in Page(html).words
    assert "3 a point; intervals are 95 % Student t" in Page(html).words


def test_one_numeric_axis_of_any_name_is_drawn_as_a_line_with_its_key():
    rows = [
        row_of("copilot", 8, 300.0) | {"load.request_rate": rate, "cell_id": f"c{rate}"} for rate in (0.5, 1.0, 2.0)
    ]
    report = build_report(view_of(rows, swept=("load.request_rate",)))
    assert "arrival rate (workflows" in report.html
    assert {"energy_per_workflow.png", "latency.png"} <= set(report.pngs)


def test_text_axes_become_panels():
    names = ("H100", "A100")
    rows = [row_of("copilot", batch, 300.0) | {"hardware.name": name} for name in names for batch in (1, 2)]
    rows = [row | {"cell_id": f"cell{index}"} for index, row in enumerate(rows)]
    words = Page(build_report(view_of(rows, swept=("hardware", "engine.max_num_seqs"))).html).words
    assert "H100 Least energy" in words
    assert "A100 Least energy" in words


@pytest.mark.parametrize("missing", ["latency", "energy", "everything"])
def test_metrics_that_are_missing_leave_their_figures_out(missing):
    def gone(key):
        return key in BY_KEY and (
            missing == "everything" or (key.endswith("_ms") if missing == "latency" else "energy" in key)
        )

    rows = [{k: float("nan") if gone(k) else v for k, v in row_of("copilot", b, 300.0).items()} for b in (1, 2)]
    drawn = set(build_report(view_of(rows)).pngs)
    assert (
        drawn
        == {
            "latency": {
                "energy_per_workflow.png",
                "energy_per_output_token.png",
                "energy_split.png",
                "power.png",
                "gantt.png",
            },
            "energy": {"latency.png", "power.png", "gantt.png"},
            "everything": {"power.png", "gantt.png"},
        }[missing]
    )


def test_series_that_cannot_be_read_are_told_and_the_rest_is_drawn():
    def broken(cell_id, name):
        raise UserError(f"{cell_id}/{name}.parquet cannot be read")

    report = build_report(view_of([row_of("copilot", batch, 300.0) for batch in (1, 2)], series=broken))
    assert "parquet cannot be read" in Page(report.html).words
    assert "energy_per_workflow.png" in report.pngs
    assert "power.png" not in report.pngs


def test_each_window_rule_names_the_panels_it_was_used_for():
    rows = [row_of(kind, 1, 300.0) for kind in ("copilot", "chain_summary")]
    view = view_of(rows)

    def record(cell_id):
        rule = "steady_state" if cell_id == rows[0]["cell_id"] else "workflows"
        return view.record(cell_id).model_copy(update={"window": {"start_s": 1.0, "end_s": 2.0, "rule": rule}})

    words = Page(build_report(replace(view, record=record)).html).words
    assert "copilot: from the k-th first token to the k-th last finish" in words
    assert "chain_summary: from the first submit to the last finish" in words


def test_more_panels_than_a_figure_holds_are_said_to_be_left_out():
    rows = [
        row_of("copilot", batch, 300.0) | {"workflow.kind": f"kind{kind:02}", "cell_id": f"cell{kind}-{batch}"}
        for kind in range(14)
        for batch in (1, 2)
    ]
    series, cell = full_sweep().series, full_sweep().frame["cell_id"].iloc[0]
    words = Page(build_report(view_of(rows, series=lambda _, name: series(cell, name))).html).words
    assert "The first 12 of 14 panels; every cell is in the table." in words
    assert "The first 6 of 14 panels; every cell is in the table." in words
    assert "kind13 Least energy" in words
