import pytest

from orchestrator.cli import parse_arguments
from orchestrator.errors import UserError


def test_words_and_options_in_any_order_and_both_spellings():
    arguments = parse_arguments(
        "compare",
        "A B",
        ["a", "runs_dir=x", "b", "--config-dir", "mine", "--by=k, l"],
        ("runs_dir", "config-dir", "by"),
    )
    assert arguments.words == ("a", "b")
    assert arguments.options == {"runs_dir": "x", "config-dir": "mine", "by": "k, l"}
    assert (arguments.names("by"), arguments.names("metrics")) == (("k", "l"), ())


def test_a_folder_whose_name_holds_an_equals_sign_is_a_word(tmp_path):
    folder = tmp_path / "a=b"
    folder.mkdir()
    assert parse_arguments("compare", "A B", [str(folder)], ("runs_dir",)).words == (str(folder),)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["run_dir=x"], "compare: unknown option 'run_dir'; did you mean runs_dir"),
        (["-m", "--fast"], "compare: unknown option 'fast'"),
        (["runs_dir="], "compare: runs_dir takes one value, got none"),
        (["--runs_dir"], "compare: runs_dir takes one value, got none"),
        (["runs_dir=a", "runs_dir=b"], "compare: runs_dir takes one value, given twice"),
    ],
)
def test_what_cannot_be_read_is_named(given, message):
    with pytest.raises(UserError, match=message):
        parse_arguments("compare", "A B", given, ("runs_dir",))
