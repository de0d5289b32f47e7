"""Sweeps with repeats and a stop rule from the command line: what runs, what is printed, written and resumed."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator import load_sweep
from orchestrator.cli import main
from orchestrator.store.sweep import SweepStore

QUICK = ("executor=inline", "tracking=none", "engine=simulated", "load.num_workflows=12", "protocol.min_window_s=0")
SWEEP = ("-m", *QUICK, "engine.max_num_seqs=2,4", "protocol.repeats=6")
METRIC = "gpu_energy_j_per_output_token"
STOP = (f"protocol.stop_when.metric={METRIC}", "protocol.stop_when.min_repeats=3")
LOOSE, NEVER = "protocol.stop_when.half_width_ratio=9", "protocol.stop_when.half_width_ratio=0"


@pytest.fixture
def command(capsys, tmp_path, monkeypatch):
    """Runs a command; returns its exit code, its last line and all its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "orchestrator.commands.run._write_report", lambda store: Path("report.html")
    )  # drawing is not what is tested

    def run(*arguments: str):
        code = main(list(arguments))
        text = capsys.readouterr()
        return code, json.loads(text.out.splitlines()[-1]), text.out + text.err

    return run


def counts(line):
    return {key: line[key] for key in ("cells", "ok", "pending", "not_needed", "skipped")}


def manifest(line):
    return SweepStore.open(Path("runs") / line["sweep"]).manifest


def test_what_is_not_needed_is_neither_failed_nor_missing(command):
    code, line, text = command(*SWEEP, *STOP, LOOSE)
    assert code == 0
    assert counts(line) == {"cells": 12, "ok": 6, "pending": 0, "not_needed": 6, "skipped": 0}
    assert "6/6 cells, 6 not needed" in text
    assert "a configuration has 3 to 6 repeats" in text
    assert "6 ok, 6 not needed of 12 cells" in text
    assert "resume with" not in text
    written = manifest(line)
    assert len(written.not_needed) == 6
    assert all(f"{METRIC} is known to ±" in why for why in written.not_needed.values())
    assert load_sweep(line["sweep"]).groupby("engine.max_num_seqs")["repeat"].apply(list).tolist() == [[0, 1, 2]] * 2


def test_a_resume_finds_nothing_to_do_and_keeps_the_rule_it_does_not_name(command, monkeypatch):
    _, line, _ = command(*SWEEP, *STOP, LOOSE)
    monkeypatch.setattr("orchestrator.commands.run.InlineExecutor.start", lambda _: pytest.fail("started"))
    for again in ((f"resume={line['sweep']}",), (*SWEEP, "resume=latest")):
        code, resumed, text = command(*again, "executor=inline", "tracking=none")
        assert code == 0
        assert counts(resumed) == {"cells": 12, "ok": 6, "pending": 0, "not_needed": 6, "skipped": 6}
        assert "6 done before, 6 not needed any more, 0 to run" in text


def test_a_resume_with_a_stricter_rule_runs_the_rest(command):
    _, line, _ = command(*SWEEP, *STOP, LOOSE)
    code, resumed, _ = command(f"resume={line['sweep']}", "executor=inline", "tracking=none", STOP[0], NEVER)
    assert code == 0
    assert counts(resumed) == {"cells": 12, "ok": 12, "pending": 0, "not_needed": 0, "skipped": 6}
    assert manifest(resumed).not_needed == {}


def test_a_sweep_that_was_interrupted_ends_as_one_that_was_not(command):
    _, whole, _ = command(*SWEEP, *STOP, LOOSE)
    cut = Path("runs") / whole["sweep"]
    ids = list(manifest(whole).order)
    kept = set(manifest(whole).not_needed)
    for cell_id in [one for one in ids if one not in kept][2:]:
        (cut / "cells" / cell_id / "record.json").unlink()
    plain = json.loads((cut / "sweep.json").read_text())
    (cut / "sweep.json").write_text(json.dumps(plain | {"not_needed": {}}))
    code, line, text = command(f"resume={whole['sweep']}", "executor=inline", "tracking=none")
    assert code == 0
    assert "2 done before, 10 to run" in text
    assert counts(line) == {"cells": 12, "ok": 6, "pending": 0, "not_needed": 6, "skipped": 2}
    assert set(manifest(line).not_needed) == kept


def test_a_plan_says_how_many_cells_there_are_at_most_and_at_least(command):
    code, line, text = command("plan", *SWEEP, *STOP)
    assert (code, line["cells"], line["least_cells"]) == (0, 12, 6)
    assert "12 at most and 6 at least, 0 of them infeasible" in text
    assert command("plan", *SWEEP)[1]["least_cells"] == 12


def test_repeats_are_pooled_into_a_table_of_means_and_half_widths(command):
    _, line, _ = command(*SWEEP)
    table = pq.read_table(Path("runs") / line["sweep"] / "repeats.parquet").to_pylist()
    frame = load_sweep(line["sweep"])
    assert [(row["n_repeats"], row["n_ok"], row["engine.max_num_seqs"]) for row in table] == [(6, 6, 2), (6, 6, 4)]
    for row in table:
        values = frame[frame["engine.max_num_seqs"] == row["engine.max_num_seqs"]][METRIC]
        assert row[METRIC] == pytest.approx(values.mean())
        assert row[f"half_width:{METRIC}"] == pytest.approx(2.5705818 * values.std() / 6**0.5)
    assert "repeat" not in table[0]
    assert (Path("runs") / line["sweep"] / "repeats.csv").is_file()


def test_without_repeats_there_is_nothing_to_pool(command):
    _, line, _ = command(*QUICK)
    assert not (Path("runs") / line["sweep"] / "repeats.csv").exists()
