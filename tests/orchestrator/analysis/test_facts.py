from sample_sweeps import a_cell, a_record

from orchestrator.analysis.comparison import FactApart, facts, facts_apart


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
