"""Errors of attribution beside those of others, and the page that tells of them."""

from pathlib import Path

from benchmarks.attribution_error import measured, table
from benchmarks.result_files import read_results

METHOD = Path(__file__).parents[2] / "docs" / "method.md"


def test_no_other_method_is_as_near_to_the_truth():
    found = measured("chat, batch 16", "sampled", strange=True, seed=1)["methods"]
    ours, assumed = found.pop("ours"), found.pop("assumed rates")
    assert ours["median"] < 0.05
    assert abs(ours["prefill"]) < 0.05 < abs(assumed["prefill"])
    for method, other in found.items():
        assert 3 * ours["median"] < other["median"], method


def test_the_page_holds_the_kept_results():
    kept = read_results("attribution_error")
    assert table(kept) in METHOD.read_text()
