"""Tags by which people filter cells, and see how far a sweep is."""

from sample_sweeps import a_cell, a_matrix, a_record, settings

from orchestrator.store.sweep import SweepStore
from orchestrator.tracking.run_content import cell_tags, sweep_tags


def test_a_cell_says_where_its_energy_is_from_and_what_its_cap_did():
    record = a_record(a_cell(power_limit_w=300), metrics={"cap_bound_ratio": 0.0})
    measured = record.model_copy(
        update={"provenance": {"energy_source": "counter"}, "cell": record.cell | {"collectors": {"power": "nvml"}}}
    )
    tags = cell_tags(measured)
    assert (tags["energy"], tags["cap_effect"]) == ("measured (NVML counter)", "inert")
    computed = cell_tags(record.model_copy(update={"provenance": {"energy_source": "computed"}}))
    assert computed["energy"] == "simulated: computed, not measured"
    unmeasured = cell_tags(a_record(a_cell()))
    assert unmeasured["energy"] == "not measured"
    assert "cap_effect" not in unmeasured
    assert "energy" not in cell_tags(a_record(a_cell(), "failed"))


def test_a_sweep_counts_its_cells_and_their_reasons(runs_dir):
    cells = [a_cell(users=users) for users in (1, 2, 3)]
    manifest = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {}).manifest
    records = [a_record(cells[0]), a_record(cells[1], "invalid", transient=(True, False))]
    records.append(a_record(cells[2], "invalid", transient=(True,)))
    tags = sweep_tags(manifest, records)
    assert (tags["cells_ok"], tags["cells_invalid"]) == ("1", "2")
    assert tags["reasons"] == "reason_0: 2, reason_1: 1"
    assert "reasons" not in sweep_tags(manifest, records[:1])
