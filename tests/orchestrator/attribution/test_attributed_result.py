"""What attribution adds to a result: columns, metrics, provenance; nothing where the engine knows itself."""

import pytest

from benchmarks.attribution_truth import Hidden, hidden
from orchestrator.attribution.attribute import METHOD, attribute, with_attribution
from orchestrator.measure.columns import Columns
from orchestrator.measure.summary import summarise
from orchestrator.spec.cell import Cell


class _Measured:
    """Options of an engine whose energies are measured."""

    def __init__(self, options):
        self._options = options
        self.simulated = False

    def __getattr__(self, name):
        return getattr(self._options, name)


@pytest.fixture(scope="module")
def case() -> Hidden:
    return hidden("workflow=composite", "load.num_workflows=30", "engine.max_num_seqs=16")


def _as_measured(cell: Cell) -> Cell:
    return cell.model_copy(update={"engine": _Measured(cell.engine)})


def test_energies_of_requests_tenants_and_roles_come_with_the_result(case):
    cell = _as_measured(case.cell)
    found = with_attribution(cell, case.shown)
    assert found.provenance == {"attribution": METHOD}
    assert abs(found.metrics["attribution_residual_ratio"]) < 0.01
    assert 0 < found.metrics["attribution_misfit_ratio"] < 0.5
    requests = Columns(found.series["requests"])
    decode_j = attribute(cell, case.shown).requests.decode_j
    assert requests.floats("decode_energy_j") == pytest.approx(decode_j)
    metrics = summarise(cell, found.series).metrics
    assert metrics["prefill_energy_j"] == pytest.approx(case.prefill_j.sum(), rel=0.06)
    assert metrics["decode_energy_j"] == pytest.approx(case.decode_j.sum(), rel=0.06)
    per_workflow_j = metrics["attributed_energy_j_per_workflow"]
    roles_j = [value for key, value in metrics.items() if key.startswith("role/")]
    assert len(roles_j) > 1
    assert sum(roles_j) == pytest.approx(per_workflow_j)
    assert {
        "tenant/chat/attributed_energy_j_per_workflow",
        "tenant/map_reduce/attributed_energy_j_per_workflow",
    } <= set(metrics)


def test_an_engine_that_knows_its_energies_is_believed(case):
    found = with_attribution(case.cell, case.shown)
    assert found.series == case.shown
    assert found.metrics == {}
    assert found.provenance == {}


def test_nothing_is_added_where_energy_was_not_measured(case):
    series = {name: table for name, table in case.shown.items() if name != "power"}
    found = with_attribution(_as_measured(case.cell), series)
    assert found.series == series
    assert found.metrics == {}
