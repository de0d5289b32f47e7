import random

import pytest
from analysis_cells import a_measured, a_noisy_sweep
from sample_sweeps import a_cell, a_record

from orchestrator.analysis.comparison import FactApart, compare, facts, facts_apart
from orchestrator.errors import UserError

ENERGY = "gpu_energy_j_per_workflow"


def test_an_injected_difference_is_found_and_nothing_else():
    noise = random.Random(11)
    a = a_noisy_sweep("old", noise)
    b = a_noisy_sweep("new", noise, shift={("copilot", ENERGY): 0.97})

    result = compare(a, b)

    assert (len(result.pairs), len(result.tested)) == (200, 16)
    (only,) = result.changed
    assert (only.panel, only.metric, only.change.n) == ("copilot", ENERGY, 50)
    assert only.change.low < 0.97 - 1 < only.change.high < 0


@pytest.mark.slow
def test_over_many_null_comparisons_the_family_errs_in_one_of_twenty():
    noise, repetitions = random.Random(5), 400
    wrong = sum(
        bool(compare(a_noisy_sweep("old", noise, n_cells=80), a_noisy_sweep("new", noise, n_cells=80)).changed)
        for _ in range(repetitions)
    )
    assert 0.02 < wrong / repetitions < 0.05 + 3 * (0.05 * 0.95 / repetitions) ** 0.5


@pytest.mark.slow
def test_over_many_comparisons_the_interval_holds_the_true_change():
    noise, repetitions = random.Random(7), 300
    held = 0
    for _ in range(repetitions):
        shifted = a_noisy_sweep("new", noise, shift={("chat", ENERGY): 1.05}, n_cells=80)
        result = compare(a_noisy_sweep("old", noise, n_cells=80), shifted, metrics=[ENERGY])
        change = next(finding.change for finding in result.findings if finding.panel == "chat")
        held += change.low <= 0.05 <= change.high
    assert held / repetitions == pytest.approx(0.95, abs=3 * (0.05 * 0.95 / repetitions) ** 0.5)


def test_two_runs_of_a_deterministic_sweep_do_not_differ():
    a = a_noisy_sweep("gpu", random.Random(3))
    result = compare(a, a)
    assert result.changed == ()
    assert {(finding.change.change, finding.p_holm) for finding in result.findings} == {(0.0, 1.0)}


def test_simulated_and_measured_cells_are_not_compared():
    a, b = ([a_measured({ENERGY: 1.0}, simulated=simulated)] for simulated in (True, False))
    with pytest.raises(UserError, match="1 of the 2 ok cells are simulated and the others measured"):
        compare(a, b)


def test_cells_that_are_not_ok_and_cells_without_partner_are_counted():
    a = [a_measured({ENERGY: 1.0}, engine__max_num_seqs=n, status="invalid" if n == 1 else "ok") for n in range(5)]
    b = [a_measured({ENERGY: 1.0}, engine__max_num_seqs=n, status="failed" if n == 2 else "ok") for n in range(4)]

    result = compare(a, b)

    assert (len(result.pairs), result.excluded, result.unpaired) == (2, (1, 1), (2, 1))


def test_one_pair_that_changed_is_not_tested():
    result = compare([a_measured({ENERGY: 1.0})], [a_measured({ENERGY: 2.0})], metrics=[ENERGY])
    assert (result.tested, result.changed) == ((), ())
    assert result.findings[0].change.change == pytest.approx(1.0)


def test_repeats_are_the_units_of_a_panel_of_one_configuration():
    a, b = (
        [a_measured({ENERGY: scale + 0.01 * i}, repeat=i, engine__max_num_seqs=n) for n in (1, 8) for i in range(3)]
        for scale in (1.0, 1.1)
    )
    assert [finding.change.n for finding in compare(a, b).findings] == [2]
    by = compare(a, b, by=["workflow.kind", "engine.max_num_seqs"])
    assert [(finding.panel, finding.change.n) for finding in by.findings] == [
        ("chat · engine.max_num_seqs=1", 3),
        ("chat · engine.max_num_seqs=8", 3),
    ]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([a_measured(status="failed")], [a_measured()], "none of the 1 pairs has two ok cells"),
        ([], [a_measured()], "without results"),
        (
            [a_measured(engine__max_num_seqs=n) for n in (1, 2)],
            [a_measured(engine__max_num_seqs=n) for n in (3, 4)],
            "4 cells have several partners each",
        ),
    ],
)
def test_sweeps_without_a_pair_are_refused_with_the_reason(a, b, expected):
    with pytest.raises(UserError, match=expected):
        compare(a, b)


def test_the_facts_of_starts_and_records_are_gathered_without_clocks_and_boots():
    record = a_record(a_cell()).model_copy(update={"window": {"rule": "arrivals"}, "provenance": {"engine": "vllm"}})
    starts = [
        {"versions": {"ray": version}, "git": {"dirty": False}, "clock": {"unix_s": 1.0}, "boot_id": "x"}
        for version in ("2.54", "2.60")
    ]
    assert facts(starts, [record]) == {
        "versions.ray": ("2.54", "2.60"),
        "git.dirty": ("false",),
        "simulated": ("true",),
        "window.rule": ("arrivals",),
        "engine": ("vllm",),
        "host": ("node-1",),
    }


def test_only_facts_with_other_values_are_apart_whatever_their_order():
    a = {"host": ("x", "y"), "git.commit": ("1",), "kernel": ("6",)}
    b = {"host": ("y", "x"), "git.commit": ("2",), "numpy": ("2",)}
    assert facts_apart(a, b) == (
        FactApart("git.commit", ("1",), ("2",)),
        FactApart("kernel", ("6",), ()),
        FactApart("numpy", (), ("2",)),
    )
