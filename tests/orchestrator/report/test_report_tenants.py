"""The table of tenants, and the objective they were judged by."""

import pytest
from report_sweeps import row_of, view_of
from sample_sweeps import a_cell, a_matrix, a_record, settings

from orchestrator.analysis.axes import find_axes, with_plain_levels
from orchestrator.analysis.pooling import pool
from orchestrator.report.page import build_report
from orchestrator.report.tenants import tenant_table
from orchestrator.report.view import view_of as view_on_disk
from orchestrator.store.sweep import SweepStore

SWEPT = ("workflow", "engine.max_num_seqs")


def _tenants(chat_j: float, **more: float) -> dict[str, float]:
    return {
        "tenant/chat/attributed_energy_j_per_workflow": chat_j,
        "tenant/chat/p99_ttft_ms": 1500.0,
        "tenant/code/num_workflows": 3.0,
        **more,
    }


def _table(rows):
    frame = with_plain_levels(view_of(rows).frame)
    axes = find_axes(frame, SWEPT)
    return tenant_table(frame, pool(frame, axes))


def test_a_row_is_a_point_and_a_tenant_and_a_mean_over_its_cells():
    rows = [row_of("composite", 8, 400.0, 0, **_tenants(100.0)), row_of("composite", 8, 400.0, 1, **_tenants(300.0))]
    rows += [row_of("composite", 16, 400.0, 0, **_tenants(50.0)), row_of("copilot", 8, 400.0, 0)]
    table = _table(rows)
    assert table.titles == ("workflows", "attributed energy per workflow", "p99 time to first token")
    assert [(row.panel, row.point, *row.names) for row in table.rows] == [
        ("composite", "8 seqs", "chat"),
        ("composite", "8 seqs", "code"),
        ("composite", "16 seqs", "chat"),
        ("composite", "16 seqs", "code"),
    ]
    first = table.rows[0]
    assert len(first.cells) == 2
    assert [entry.text for entry in first.entries] == ["\u2013", "200\u00a0J", "1.50\u00a0s"]
    assert first.entries[1].key == pytest.approx(200.0)
    assert table.rows[1].entries[0].text == "3"


def test_one_tenant_has_no_table():
    assert _table([row_of("copilot", 8, 400.0), row_of("copilot", 16, 400.0)]) is None
    assert 'id="tenants"' not in build_report(view_of([row_of("copilot", 8, 400.0)])).html


def test_the_page_shows_tenants_and_what_they_were_judged_by():
    rows = [row_of("composite", batch, 400.0, 0, **_tenants(70.0)) for batch in (8, 16)]
    html = build_report(view_of(rows, objective="chat: TTFT ≤ 400 ms for 99 %")).html
    assert 'id="tenants"' in html
    assert '<a href="#tenants">Tenants</a>' in html
    assert "<dt>Objective</dt><dd>chat: TTFT ≤ 400 ms for 99 %</dd>" in html
    assert 'data-key="70.0">70.0\u00a0J</td>' in html


def test_the_objective_is_what_the_records_say(runs_dir):
    cells = [a_cell(users=users) for users in (1, 2, 3)]
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {})
    for cell, slo in zip(
        cells, ({"name": "chat", "ttft_ms": 400}, {"name": "chat", "ttft_ms": 400}, None), strict=True
    ):
        provenance = {} if slo is None else {"slo": slo}
        store.write(a_record(cell).model_copy(update={"provenance": provenance}), {})
    assert view_on_disk(store).objective == "chat: TTFT ≤ 400 ms for 99 %"
