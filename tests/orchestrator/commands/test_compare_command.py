import json

import pytest
from sample_sweeps import a_cell, a_matrix, a_record, settings

from orchestrator.cli import main
from orchestrator.store.sweep import SweepStore

ENERGY = "gpu_energy_j_per_workflow"


def a_sweep(runs_dir, name, energy_of, *, host="node-1", jitter_ms=0.0, **cell):
    """Eight cells, the last invalid; ``energy_of`` gives each its energy by its index."""
    cells = [a_cell(users=users, **cell) for users in range(1, 9)]
    store = SweepStore.create(runs_dir, a_matrix(*cells, name=name), settings(), {"host": host, "clock": {"unix_s": 1}})
    for i, one in enumerate(cells):
        status = "ok" if i < 7 else "invalid"
        store.write(
            a_record(
                one, status, metrics={ENERGY: energy_of(i), "median_workflow_ms": 100.0 + i + jitter_ms * (i % 3 - 1)}
            ),
            {},
        )
    return store


@pytest.fixture
def sweeps(runs_dir):
    a = a_sweep(runs_dir, "before", lambda i: 10.0 + i)
    b = a_sweep(
        runs_dir, "after", lambda i: (10.0 + i) * (0.8 + 0.01 * (i % 3)), host="node-2", jitter_ms=0.5, max_num_seqs=16
    )
    return a, b


def output(capsys):
    lines = capsys.readouterr().out.splitlines()
    return "\n".join(lines[:-1]), json.loads(lines[-1])


def test_the_command_tells_provenance_first_then_what_changed_then_what_did_not(sweeps, runs_dir, capsys):
    a, b = sweeps
    assert main(["compare", a.sweep_id, str(b.paths.root), f"runs_dir={runs_dir}"]) == 0

    text, line = output(capsys)
    places = [
        text.index(part)
        for part in (
            "host: node-1 | node-2",
            "set aside: engine.max_num_seqs: 8 | 16",
            "7 pairs of ok cells",
            "excluded from A: 1 that failed or are invalid",
            "changed: 1 of 2 tests",
            ENERGY,
            "not changed: 1",
            "median_workflow_ms",
        )
    ]
    assert places == sorted(places)
    assert "SIMULATED" in text[: places[0]]
    (changed,) = line.pop("changed")
    assert (changed["metric"], changed["panel"], changed["n"]) == (ENERGY, "chat", 7)
    assert -0.2 < changed["low"] < changed["change"] < changed["high"] < -0.18
    assert changed["p_holm"] < 1e-6
    assert line == {
        "command": "compare",
        "a": a.sweep_id,
        "b": b.sweep_id,
        "simulated": True,
        "pairs": 7,
        "tests": 2,
        "untested": [],
        "unpaired": {"a": 0, "b": 0},
        "excluded": {"a": 1, "b": 1},
        "provenance": {"host": {"a": ["node-1"], "b": ["node-1", "node-2"]}} | line["provenance"],
    }


def test_a_sweep_beside_itself_is_no_difference(sweeps, runs_dir, capsys):
    a, _ = sweeps
    assert main(["compare", a.sweep_id, a.sweep_id, f"runs_dir={runs_dir}", "metrics=all"]) == 0
    text, line = output(capsys)
    assert "provenance: the same" in text
    assert "A and B: geometric means over the pairs" in text
    assert "no difference, equal in every pair: 2" in text
    assert (line["changed"], line["provenance"], line["tests"]) == ([], {}, 2)


def test_provenance_is_that_of_the_pairs_only(runs_dir, capsys):
    a = a_sweep(runs_dir, "before", float)
    b = a_sweep(runs_dir, "after", float)
    for store, place in ((a, 7), (b, 7)):
        record = list(store.records())[place]
        store.write(record.model_copy(update={"window": {"rule": f"rule of {store.sweep_id}"}}), {})
    assert main(["compare", a.sweep_id, b.sweep_id, f"runs_dir={runs_dir}"]) == 0
    text, line = output(capsys)
    assert "window.rule" not in text
    assert line["provenance"] == {}


@pytest.mark.parametrize("arguments", [["--help"], ["A", "-h"]])
def test_help_is_a_usage_line(capsys, arguments):
    assert main(["compare", *arguments]) == 0
    text, line = output(capsys)
    assert text.startswith("usage: python -m orchestrator compare A B [")
    assert f"usage: {line['usage']}" == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one"], "compare takes two sweeps (ids or folders), got one"),
        (["A", "B", "metrics=energy"], "there is no metric 'energy'"),
        (["A", "B", "by=load.user"], "by=load.user is no key of these cells; did you mean load.users?"),
        (["A", "nowhere"], "there is no sweep 'nowhere'"),
    ],
)
def test_wrong_input_is_refused_in_one_line(sweeps, runs_dir, capsys, arguments, message):
    ids = dict(zip("AB", (store.sweep_id for store in sweeps), strict=True))
    assert main(["compare", *(ids.get(word, word) for word in arguments), f"runs_dir={runs_dir}"]) == 2
    assert message in output(capsys)[1]["error"]
