"""The table of all cells: titles in words, keys of the results beside them."""

import pandas as pd
from report_sweeps import row_of

from orchestrator.analysis.axes import find_axes, with_plain_levels
from orchestrator.report.tables import cell_table


def test_columns_are_named_in_words_and_carry_the_key_of_the_results():
    frame = with_plain_levels(pd.DataFrame([row_of("copilot", batch, 400.0) for batch in (8, 16)]))
    columns = cell_table(frame, find_axes(frame)).columns
    assert columns[:2] == (
        ("maximum batch size (max_num_seqs)", "engine.max_num_seqs"),
        ("GPU energy per workflow (J/workflow)", "gpu_energy_j_per_workflow"),
    )
    assert ("median workflow time (ms)", "median_workflow_ms") in columns
    assert ("share of busy time held down by the cap", "cap_bound_ratio") in columns
    assert not [title for title, key in columns if title == key]


def test_energy_that_was_not_measured_is_said_and_never_a_number():
    measured, other = (row_of("copilot", batch, 400.0) for batch in (8, 16))
    bare = [{key: value for key, value in row.items() if "energy" not in key} for row in (measured, other)]

    def energies(rows):
        frame = with_plain_levels(pd.DataFrame(rows))
        table = cell_table(frame, find_axes(frame))
        keys = [key for _, key in table.columns]
        return [entries[keys.index("gpu_energy_j_per_output_token")].text for _, _, entries in table.rows]

    assert energies(bare) == ["not measured", "not measured"]
    assert energies([measured, bare[1]])[1] == "not measured"
    assert energies([measured, bare[1]])[0] != "not measured"
