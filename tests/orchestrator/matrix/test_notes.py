"""Notes of a matrix about extended contexts."""

from collections.abc import Callable

from orchestrator.spec.settings import Matrix, Settings

Composed = Callable[..., tuple[Matrix, Settings]]


def test_without_auto_there_is_no_note(composed: Composed) -> None:
    assert composed()[0].notes == ()


def test_each_extended_context_has_one_note(composed: Composed) -> None:
    (note,) = composed("model.max_model_len=9000", "seed=1,2", flags=("-m",))[0].notes
    assert note.startswith("bench-8b: a context of 9000 tokens is longer than the 8192 it was trained for")
