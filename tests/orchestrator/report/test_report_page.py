import re

import pandas as pd
import pytest
from report_html import Page, size_of
from report_sweeps import full_sweep, row_of, view_of

from orchestrator.records.metrics import BY_KEY
from orchestrator.report.page import build_report

HOSTILE = "<script>alert('x')</script><img src=http://evil.example/a.png>$\\frac{1}{0}$"
FIGURES = {"energy_per_workflow", "energy_per_output_token", "pareto", "latency", "energy_split", "power", "gantt"}


@pytest.fixture(scope="module")
def report():
    return build_report(full_sweep())


@pytest.fixture(scope="module")
def page(report):
    return Page(report.html)


def test_the_page_loads_nothing_and_forbids_loading(report, page):
    assert page.loads
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\';' in report.html
    assert not any(link.startswith(("http:", "https:", "/", "file:")) for link in page.links)


def test_plotly_is_in_the_page_once(report):
    assert report.html.count("plotly.js v") == 1
    assert report.html.count("Plotly.newPlot(") >= len(FIGURES)


def test_simulated_results_are_marked_in_the_banner_the_title_and_every_figure(report, page):
    assert "SIMULATED. Times and energies on this page were computed by a model of the GPU" in page.words
    assert "(simulated)" in re.search("<title>(.*?)</title>", report.html)[1]
    assert page.words.count("Simulated. PNG") == len(FIGURES)
    assert report.html.count("SIMULATED\\u003c\\u002fb\\u003e") == len(FIGURES)


def test_measured_results_are_not_called_simulated():
    view = view_of([row_of("copilot", batch, 300.0, simulated=False) for batch in (1, 2, 4)])
    html = build_report(view).html
    assert "SIMULATED" not in html
    assert "imulated" not in Page(html).words.replace("engine=auto: simulated", "").replace("Engine simulated", "")


def test_a_mixture_says_how_many_cells_are_simulated():
    view = view_of([row_of("copilot", batch, 300.0, simulated=batch == 1) for batch in (1, 2, 4)])
    assert "SIMULATED. 1 of 3 cells:" in Page(build_report(view).html).words


def test_the_head_says_what_was_run_on_what(page):
    for expected in (
        "batch_powercap",
        "118 ok 1 invalid 1 failed",
        "meta-llama/Llama-3.1-8B",
        "A100-SXM4-40GB (simulated)",
        "from the first submit to the last finish",
        "joulegrid 0.1.0",
        "python -m orchestrator +sweep=batch_powercap",
        "engine=auto: simulated, because no node has an NVIDIA GPU",
    ):
        assert expected in page.words


def test_excluded_cells_are_listed_with_where_they_lie_and_why(page):
    assert "2 of 120 cells are in no figure and no finding" in page.words
    assert "chain_summary: 1 seq, 280 W failed engine: out of memory" in page.words
    assert "copilot: 2 seqs, 340 W invalid window_too_short: 4.1 s of 10 s" in page.words


def test_members_of_the_front_are_named_in_the_table_and_in_the_figure(report, page):
    assert "16 seqs, 160 W" in page.words
    drawn = re.search(r'id="plot-pareto".*?</script>', report.html, re.DOTALL)[0]
    assert '"text":"16 seqs, 160 W"' in drawn
    assert '"text":"4 seqs, 280\\u002f340\\u002f400 W"' in drawn


def test_there_is_a_row_for_each_cell_and_a_link_to_its_record(report, page):
    assert report.html.count('<tr id="cell-') == 120
    cell = full_sweep().frame["cell_id"].iloc[0]
    assert f"cells/{cell}/record.json" in page.links
    assert all(f'id="{link[1:]}"' in report.html for link in page.links if link.startswith("#"))


def test_every_figure_is_a_png_with_something_on_it(report):
    assert set(report.pngs) == {f"{name}.png" for name in FIGURES}
    for png in report.pngs.values():
        width, height = size_of(png)
        assert width > 500
        assert height > 250
        assert len(png) > 8000


def test_a_context_beyond_the_models_own_is_noted():
    rows = [row_of("copilot", 1, 300.0) | {"model.max_model_len": 262144}]
    assert (
        "context extended beyond its 131072 tokens: speed and energy only"
        in Page(build_report(view_of(rows)).html).words
    )


def test_hostile_names_are_text():
    rows = [row_of("copilot", batch, 300.0) | {"workflow.kind": HOSTILE, "model.name": HOSTILE} for batch in (1, 2)]
    rows.append(row_of("copilot", 4, 300.0) | {"workflow.kind": "chat", "status": "failed", "reasons": HOSTILE})
    view = view_of(
        rows, name=HOSTILE, notes=(HOSTILE,), overrides=(f"workflow={HOSTILE}",), provenance={"host": HOSTILE}
    )
    series = full_sweep().series
    cell = full_sweep().frame["cell_id"].iloc[0]
    page = Page(build_report(view_of(rows, name=HOSTILE, series=lambda _, name: series(cell, name))).html)
    clean = Page(
        build_report(view_of([*rows[:2], rows[2] | {"reasons": "x"}], series=lambda _, name: series(cell, name))).html
    )

    assert view.name in page.words
    assert page.scripts == clean.scripts
    assert page.tags.count("img") == clean.tags.count("img")


@pytest.mark.parametrize("repeats", [1, 2])
def test_one_cell_and_its_repeats_make_a_report(repeats):
    report = build_report(view_of([row_of("copilot", 8, 300.0, repeat) for repeat in range(repeats)]))
    assert "The usable cells support no comparison." in Page(report.html).words
    assert {"energy_per_workflow.png", "power.png", "gantt.png"} <= set(report.pngs)
    assert "pareto.png" not in report.pngs


def test_a_sweep_of_failed_cells_lists_them_and_draws_nothing():
    rows = [row_of("copilot", batch, 300.0) | {"status": "failed", "reasons": "no memory"} for batch in (1, 2)]
    bare = [{key: value for key, value in row.items() if key not in BY_KEY} for row in rows]
    for view in (view_of(rows), view_of(bare)):
        report = build_report(view)
        assert report.pngs == {}
        assert report.findings == ()
        assert "2 of 2 cells are in no figure" in Page(report.html).words


def test_a_sweep_without_any_record_makes_a_page():
    empty = pd.DataFrame({"cell_id": [], "status": [], "simulated": [], "reasons": [], "repeat": []})
    report = build_report(view_of([], frame=empty, n_missing=7))
    assert "7 not run" in Page(report.html).words


def test_equal_sweeps_give_equal_pages():
    rows = [row_of("copilot", batch, 300.0) for batch in (1, 2)]
    assert build_report(view_of(rows)) == build_report(view_of(rows))


def test_a_sweep_without_energy_says_so_and_keeps_its_latencies():
    rows = [row_of("copilot", batch, 300.0) for batch in (1, 2)]
    bare = [{key: value for key, value in row.items() if "energy" not in key} for row in rows]
    report = build_report(view_of(bare))
    words = Page(report.html).words
    assert "Energy not measured" in " ".join(words.split())
    assert "The usable cells support no comparison of energy, which was not measured." in words
    assert "One workflow of the first cell of each panel" in words
    assert "latency.png" in report.pngs
    assert "pareto.png" not in report.pngs
    half = Page(build_report(view_of([rows[0], bare[1]])).html).words
    assert "not measured in 1 of 2 cells" in half


def test_a_real_engine_is_named_with_its_versions_and_a_cpu_has_no_gpus():
    rows = [row_of("copilot", batch, 300.0) | {"simulated": False, "hardware.num_gpus": 0} for batch in (1, 2)]
    view = view_of([row | {"hardware.name": "a CPU"} for row in rows], engines="vllm 0.32.0, torch 2.13.0")
    words = " ".join(Page(build_report(view).html).words.split())
    assert "vllm 0.32.0, torch 2.13.0" in words
    assert "Hardware a CPU" in words
    assert "GPU a cell" not in words
