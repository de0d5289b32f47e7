import json
import re

import pytest
from report_sweeps import metrics_of, series_of
from sample_sweeps import a_cell, a_matrix, a_record, an_attempt, settings

from orchestrator import cli
from orchestrator.commands import report as command
from orchestrator.errors import UserError
from orchestrator.report.page import write_report
from orchestrator.report.tables import facts
from orchestrator.report.view import view_of
from orchestrator.store.sweep import SweepStore


@pytest.fixture
def swept(runs_dir):
    """Two cells that are ok with series, one that failed, one invalid, one not run."""
    cells = [a_cell(users=users, power_limit_w=300) for users in (1, 2, 3, 4, 5)]
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {"host": "node-1", "versions": {"ray": "2.60.0"}})
    for cell in cells[:2]:
        record = a_record(cell, metrics=metrics_of("copilot", cell.load.users, 300.0, 0))
        store.write(record, series_of("copilot", 300.0))
    store.write(a_record(cells[2], "failed", metrics={}, attempts=(an_attempt(1, "failed"),)), {})
    store.write(a_record(cells[3], "invalid", transient=(False,)), {})
    return store


def test_the_report_of_a_sweep_on_disk(swept):
    path = write_report(swept)

    html = path.read_text(encoding="utf-8")
    assert path == swept.paths.report
    assert "2 ok" in html
    assert "1 not run" in html
    assert "ValueError: boom" in html
    assert "ray 2.60.0" in html
    assert {png.name for png in swept.paths.figures.iterdir()} == {
        "energy_per_workflow.png",
        "energy_per_output_token.png",
        "pareto.png",
        "latency.png",
        "energy_split.png",
        "power.png",
        "gantt.png",
    }
    for link in re.findall(r'href="((?:cells|figures|results)[^"]*)"', html):
        assert link.startswith("results") or (path.parent / link).exists()


def test_the_reasons_of_excluded_cells_carry_their_detail(swept):
    view = view_of(swept)
    assert view.n_missing == 1
    invalid, failed = (view.frame.set_index("status")["reasons"][status] for status in ("invalid", "failed"))
    assert failed == "ValueError: boom"
    assert invalid.startswith("reason_0: ")


def test_writing_again_replaces_the_page_and_drops_figures_that_are_gone(swept):
    first = write_report(swept).read_bytes()
    (swept.paths.figures / "old.png").write_bytes(b"")

    assert write_report(swept).read_bytes() == first
    assert not (swept.paths.figures / "old.png").exists()
    assert not list(swept.paths.root.glob(".*.tmp"))


def test_a_sweep_that_has_not_begun_has_a_report(store):
    assert "2 not run" in write_report(store).read_text(encoding="utf-8")


def test_the_command_reports_the_newest_sweep_and_ends_with_one_line_of_json(swept, runs_dir, capsys):
    assert cli.main(["report", f"runs_dir={runs_dir}"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line == {
        "command": "report",
        "sweep": swept.sweep_id,
        "report": str(swept.paths.report),
        "cells": 5,
    }


def test_the_command_takes_an_id_or_a_folder(swept, runs_dir, capsys):
    assert cli.main(["report", swept.sweep_id, f"runs_dir={runs_dir}"]) == 0
    assert cli.main(["report", str(swept.paths.root)]) == 0
    assert capsys.readouterr().out.count('"command": "report"') == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "there is no sweep 'nosuch'"),
        (["a", "b"], "report takes one sweep, got a, b"),
        (["colour=red"], "report: unknown option 'colour'; allowed: output, runs_dir"),
        (["--fast"], "report: unknown option 'fast'; allowed: output, runs_dir"),
    ],
)
def test_wrong_arguments_raise_one_line(arguments, message, runs_dir):
    with pytest.raises(UserError, match=re.escape(message)):
        command.main([*arguments, f"runs_dir={runs_dir}"])


def test_the_report_says_how_many_repeats_a_point_has_and_what_a_stop_rule_left_out(runs_dir):
    cells = [a_cell(users=users, repeat=repeat) for users in (1, 2) for repeat in range(4)]
    rule = {"metric": "total_gpu_energy_j", "half_width_ratio": 0.05}
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(stop_when=rule), {})
    *run, last = cells
    for cell in run:
        store.write(a_record(cell), {})
    store.replace_manifest(store.manifest.model_copy(update={"not_needed": {last.cell_id: "known"}}))
    view = view_of(store)
    assert view.n_missing == 0
    repeats = dict(facts(view, ()))["Repeats"]
    assert repeats.startswith("3 to 4 a point; intervals are 95 % Student t; 1 more were not needed: ")
    assert "half-width of total_gpu_energy_j was at most 0.05 of its mean" in repeats


def test_the_load_lists_users_in_their_order(runs_dir):
    cells = [a_cell(users=users, power_limit_w=300) for users in (64, 8, 16)]
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {"host": "node-1", "versions": {}})
    for cell in cells:
        store.write(a_record(cell, metrics=metrics_of("copilot", cell.load.users, 300.0, 0)), {})
    assert dict(facts(view_of(store), ()))["Load"] == "closed, 8, 16, 64 users"
