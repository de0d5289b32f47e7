"""Who used the energy, in the report: tenants, roles and steps of the cells that are looked into."""

import math

import pyarrow as pa
import pytest
from report_sweeps import row_of, series_of, view_of

from orchestrator.records.series import REQUESTS
from orchestrator.report.page import build_report
from orchestrator.report.spent import MAX_STEPS, spent_by


def _requests(*rows):
    names = ("tenant", "role", "step", "prefill_energy_j", "decode_energy_j")
    result = [{"request_id": f"r{i}", **dict(zip(names, row, strict=True))} for i, row in enumerate(rows)]
    return pa.Table.from_pylist(result, schema=REQUESTS)


def test_energies_are_summed_by_tenant_role_and_step_and_the_largest_is_first():
    spent = spent_by(
        _requests(("t", "coder", "a", 1.0, 2.0), ("t", "tester", "b", 10.0, 4.0), ("t", "coder", "c", 3.0, 0.0))
    )
    assert [(one.group, one.name) for one in spent] == [
        ("role", "tester"), ("role", "coder"), ("step", "b"), ("step", "a"), ("step", "c"),
    ]  # fmt: skip
    assert [one.energy_j for one in spent[:2]] == [14.0, 6.0]
    assert spent[1].n_requests == 2
    assert spent[1].share == pytest.approx(0.3)
    assert spent[1].prefill_share == pytest.approx(4 / 6)


def test_energy_that_is_not_known_of_a_request_is_not_shown_at_all():
    assert spent_by(_requests(("t", "coder", "a", 1.0, 2.0), ("t", "tester", "b", None, None))) == ()
    assert spent_by(_requests()) == ()


def test_what_used_nothing_has_no_share_of_prefill_and_few_steps_are_told_apart():
    rows = [("t", "r", f"s{i}", 1.0, float(i)) for i in range(20)] + [("t", "r", "none", 0.0, 0.0)]
    spent = spent_by(_requests(*rows))
    assert [one.name for one in spent] == [f"s{i}" for i in range(19, 19 - MAX_STEPS, -1)]
    assert math.isnan(spent_by(_requests(*rows[-2:]))[-1].prefill_share)


def test_the_page_has_the_table_where_energies_are_known():
    html = build_report(view_of([row_of("multi_agent_coding", 8, 400.0)])).html
    requests = series_of("multi_agent_coding", 400.0)["requests"]
    coder = next(one for one in spent_by(requests) if one.name == "coder")
    assert "By tenant, role and step" in html
    assert '<td>role</td><td>coder</td><td class="n" data-key="12">12</td>' in html
    assert f'data-key="{coder.share}"' in html
    assert "By tenant, role and step" not in build_report(view_of([row_of("copilot", 8, 400.0)])).html
