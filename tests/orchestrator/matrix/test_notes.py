"""What is told about ``auto`` and about contexts, in plain lines."""

from collections.abc import Callable

from orchestrator.spec.settings import Matrix, Settings

Composed = Callable[..., tuple[Matrix, Settings]]


def test_nothing_is_told_where_everything_was_chosen(composed: Composed) -> None:
    assert composed()[0].notes == ()


def test_each_extended_context_is_told_once(composed: Composed) -> None:
    (told,) = composed("model.max_model_len=9000", "seed=1,2", flags=("-m",))[0].notes
    assert told.startswith("bench-8b: a context of 9000 tokens is longer than the 8192 it was trained for")
