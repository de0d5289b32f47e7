from dataclasses import replace

from report_sweeps import metrics_of, row_of, view_of

from orchestrator.errors import UserError
from orchestrator.report.page import build_report
from orchestrator.report.recommendation_text import recommended
from orchestrator.spec.settings import Slo


def a_view(slo, slo_of=None):
    """Two workflows at three caps; what a cell was judged by is in its record."""
    rows = [row_of(kind, 8, cap, seed=0) for kind in ("chain_summary", "copilot") for cap in (160.0, 200.0, 400.0)]
    view = view_of(rows)

    def record(cell_id):
        result = view.record(cell_id)
        judged = slo if slo_of is None else slo_of(cell_id)
        return result.model_copy(update={"provenance": result.provenance | ({"slo": judged} if judged else {})})

    return replace(view, record=record)


def test_a_sweep_with_an_objective_is_told_the_least_energy_that_meets_it():
    slo = Slo(name="mine", workflow_ms=9000)
    result = recommended(a_view(slo.model_dump(exclude_none=True)))

    assert result.lead.startswith(
        f"The least GPU energy per workflow within {slo}. Simulated: repeats resolve the model's"
    )
    chain, copilot = result.answers
    energies = {cap: metrics_of("copilot", 8, cap, 0)["gpu_energy_j_per_workflow"] for cap in (160.0, 200.0, 400.0)}
    assert copilot[0].startswith(f"copilot: {min(energies, key=energies.get):g} W: ")
    assert "s median workflow time (1 repeat); 100 % within the limits" in copilot[0].replace("\u00a0", " ")
    assert any(line.startswith("  fastest within the limits: ") for line in copilot)
    assert chain[0].startswith("chain_summary: ")


def test_the_page_shows_it_first_and_only_where_there_is_an_objective():
    html = build_report(a_view({"name": "mine", "ttft_ms": 1.0})).html
    assert html.index('href="#recommended"') < html.index('href="#findings"')
    assert html.index("<h2>Recommendation</h2>") < html.index("<h2>Findings</h2>")
    assert "copilot: no setting meets the objective" in html
    assert "Recommendation" not in build_report(a_view(None)).html


def test_cells_that_were_judged_by_different_objectives_get_no_recommendation():
    seen = iter(range(100))
    assert recommended(a_view(None, lambda _: {"ttft_ms": 100.0 + next(seen)})) is None


def test_series_that_cannot_be_read_are_named_instead_of_counted_as_missed():
    def broken(cell_id, name):
        raise UserError(f"{name} is damaged")

    result = recommended(replace(a_view({"ttft_ms": 5.0}), series=broken))
    assert (result.lead, result.answers) == ("None: requests is damaged", ())


def test_without_energy_there_is_nothing_to_recommend():
    view = a_view({"ttft_ms": 5.0})
    keys = [key for key in view.frame if "energy_j_per" in key]
    assert recommended(replace(view, frame=view.frame.drop(columns=keys))) is None
