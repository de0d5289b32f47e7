"""Errors of attribution compared with other methods, and their table in docs/method.md."""

from pathlib import Path

from benchmarks.attribution_error import measured, table
from benchmarks.result_files import read_results

METHOD = Path(__file__).parents[2] / "docs" / "method.md"


def test_no_other_method_is_as_near_to_the_truth():
    errors = measured("chat, batch 16", "sampled", strange=True, seed=1)["methods"]
    ours, assumed = errors.pop("ours"), errors.pop("assumed rates")
    assert ours["median"] < 0.05
    assert abs(ours["prefill"]) < 0.05 < abs(assumed["prefill"])
    for method, other in errors.items():
        assert 3 * ours["median"] < other["median"], method


def test_the_page_holds_the_kept_results():
    stored = read_results("attribution_error")
    assert table(stored) in METHOD.read_text()
