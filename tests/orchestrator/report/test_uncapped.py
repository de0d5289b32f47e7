"""The power figure: the best cell, and what its cap takes away."""

import json

import pytest
from report_sweeps import metrics_of, series_of
from sample_sweeps import a_cell, a_matrix, a_record, settings

from orchestrator.analysis.axes import find_axes, with_plain_levels
from orchestrator.analysis.pooling import pool
from orchestrator.report.detail import details_of
from orchestrator.report.page import write_report
from orchestrator.report.view import view_of
from orchestrator.store.sweep import SweepStore


@pytest.fixture
def store(runs_dir):
    """Two batch sizes at three caps, least energy at the lowest cap of the larger batch."""
    cells = {
        (batch, cap_w): a_cell(max_num_seqs=batch, power_limit_w=cap_w) for batch in (4, 8) for cap_w in (200, 220, 280)
    }
    matrix = a_matrix(*cells.values(), swept=("engine.max_num_seqs", "hardware.power_limit_w"))
    store = SweepStore.create(runs_dir, matrix, settings(), {})
    for (batch, cap_w), cell in cells.items():
        metrics = metrics_of("copilot", batch, 400.0, 0) | {"gpu_energy_j_per_workflow": float(cap_w - batch)}
        store.write(a_record(cell, metrics=metrics), series_of("copilot", float(cap_w)))
    return store


def the_detail(store, keep=None):
    view = view_of(store)
    frame = with_plain_levels(view.frame)
    axes = find_axes(frame, view.swept)
    points = pool(frame if keep is None else frame[keep(frame)], axes)
    ((detail,), problems) = details_of(view, points, axes)
    assert problems == ()
    return detail


def test_beside_the_best_cell_stands_the_same_batch_at_the_highest_cap(store):
    detail = the_detail(store)
    assert detail.label == "8 seqs, 200 W"
    assert detail.uncapped.label == "8 seqs, 280 W"
    assert detail.uncapped.power.high_w.max() == pytest.approx(280)
    assert detail.power.high_w.max() == pytest.approx(200)
    assert detail.most_w == pytest.approx(280)


def test_a_best_cell_at_the_highest_cap_stands_alone(store):
    detail = the_detail(store, lambda frame: frame["hardware.power_limit_w"] == 280)
    assert detail.label.startswith("8 seqs")
    assert detail.uncapped is None


def test_the_findings_lie_beside_the_page(store):
    write_report(store)
    findings = json.loads(store.paths.findings.read_text())
    assert findings[0].keys() == {"panel", "text", "cells"}
    assert any(finding["text"].startswith("Least energy: 8 seqs, 200 W") for finding in findings)
