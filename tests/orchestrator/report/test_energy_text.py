"""What the report says of its energies and of cells that do not count."""

import pytest
from report_sweeps import row_of, view_of

from orchestrator.analysis.axes import find_axes
from orchestrator.records.record import CellRecord, LaneRecord
from orchestrator.records.text_format import source_words
from orchestrator.report.energy_text import energy_fact, lifecycle, lifecycle_fact, reason_counts
from orchestrator.report.page import build_report
from orchestrator.report.tables import cell_table

_MEASURED = {
    "simulated": False,
    "energy_source": "counter",
    "collectors.power": "nvml",
    "energy_uncertainty_j": 20.0,
    "energy_gap_ratio": -0.012,
    "total_gpu_energy_j": 5000.0,
}


def test_a_measured_energy_names_its_sensor_and_how_sure_it_is():
    rows = [row_of("copilot", batch, 400.0, **_MEASURED) for batch in (1, 2, 4)]
    rows[1] |= {"energy_gap_ratio": 0.3, "status": "invalid"}  # what is not used is no part of how sure the rest is
    text = energy_fact(view_of(rows).frame)
    assert text == (
        "measured (NVML counter); the edges of windows leave at most 0.4\u00a0% open; "
        "the integral of power is within 1.2\u00a0% of the counter"
    )


def test_a_mixture_is_told_apart():
    rows = [row_of("copilot", 1, 400.0, **_MEASURED), row_of("copilot", 2, 400.0), row_of("copilot", 4, 400.0)]
    rows[2] |= {key: float("nan") for key in rows[2] if key.endswith(("_j", "_j_per_workflow"))}
    text = energy_fact(view_of(rows).frame)
    assert "measured (NVML counter) in 1 of 3 cells" in text
    assert "simulated: computed, not measured in 1 of 3 cells" in text
    assert "not measured in 1 of 3 cells" in text


@pytest.mark.parametrize(
    ("source", "collector", "words"),
    [
        (None, "none", "not measured"),
        ("computed", "simulated", "simulated: computed, not measured"),
        ("counter", "nvml", "measured (NVML counter)"),
        ("counter", "my_lab.meter", "measured (my_lab.meter counter)"),
    ],
)
def test_where_an_energy_is_from(source, collector, words):
    assert source_words(source, collector) == words


def test_reasons_are_counted_and_shown():
    rows = [row_of("copilot", batch, 400.0) for batch in (1, 2, 4, 8)]
    for row, codes in zip(rows, ("", "sampler_gap", "sampler_gap, foreign_process", ""), strict=True):
        row.update({"reason_codes": codes} | ({"status": "invalid", "reasons": f"{codes}: why"} if codes else {}))
    view = view_of(rows)
    counts = reason_counts(view.frame)
    assert [(code, n) for code, n, _ in counts] == [("sampler_gap", 2), ("foreign_process", 1)]
    assert all(meaning.endswith("(transient)") for _, _, meaning in counts)
    html = build_report(view).html
    assert "sampler_gap: 2</span>" in html
    assert "foreign_process: 1</span>" in html
    assert "Invalid because of" not in build_report(view_of([row_of("copilot", 1, 400.0)])).html


def test_an_invalid_cell_is_shown_and_in_no_finding_however_little_energy_it_seems_to_need():
    rows = [row_of("copilot", batch, 400.0, reason_codes="") for batch in (1, 2, 4, 8)]
    rows[1].update({key: value / 100 for key, value in rows[1].items() if "energy" in key})
    rows[1].update(status="invalid", reason_codes="sensor_lost", reasons="sensor_lost: why")
    report = build_report(view_of(rows))
    assert report.findings
    assert all(rows[1]["cell_id"] not in finding.cells for finding in report.findings)
    assert "sensor_lost: why" in report.html


def test_an_inert_cap_is_marked():
    rows = [row_of("copilot", 1, cap, cap_effect=effect) for cap, effect in ((240.0, "bound"), (340.0, "inert"))]
    view = view_of(rows)
    table = cell_table(view.frame, find_axes(view.frame, view.swept))
    at = [key for _, key in table.columns].index("cap_bound_ratio")
    assert [entries[at].text.endswith("(inert)") for _, _, entries in table.rows] == [False, True]


def _record(status="ok", **metrics):
    return CellRecord(cell_id="c", engine_key="e", status=status, simulated=False, cell={}, metrics=metrics)


def _lane(start_j):
    return LaneRecord(lane_id="l", engine_key="e", started_unix_s=0.0, engine_start_energy_j=start_j)


def test_starts_and_whole_cells_are_kept_apart_from_windows():
    records = [
        _record(cell_gpu_energy_j=9000.0, total_gpu_energy_j=7000.0),
        _record("invalid", cell_gpu_energy_j=5000.0, total_gpu_energy_j=4000.0),
        _record("failed"),
    ]
    spent = lifecycle([_lane(30_000.0), _lane(None)], records)
    assert (spent.starts_j, spent.cells_j, spent.windows_j) == (30_000.0, 14_000.0, 7000.0)
    text = lifecycle_fact(spent)
    assert "1 of 2 engine starts: 30 kJ (8.33 Wh)" in text
    assert "2 of 3 cells from begin to end: 14 kJ (3.89 Wh)" in text
    assert "7 kJ (1.94 Wh) in windows that count" in text


def test_what_nobody_measured_is_not_summed():
    spent = lifecycle([_lane(None)], [_record("failed")])
    assert (spent.starts_j, spent.cells_j, spent.windows_j) == (None, None, None)
    assert lifecycle_fact(spent) == lifecycle_fact(None) == ""
