"""What is told about ``auto`` and about contexts, in plain lines."""

from collections.abc import Callable

import pytest

from orchestrator.matrix import notes
from orchestrator.settings import Matrix, Settings

Composed = Callable[..., tuple[Matrix, Settings]]


def test_nothing_is_told_where_everything_was_chosen(composed: Composed) -> None:
    assert composed()[0].notes == ()


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ((), "no NVIDIA GPU was found here"),
        (("NVIDIA H200", "NVIDIA H200"), "this version has no engine for the 2 x NVIDIA H200 found here"),
    ],
)
def test_auto_says_which_engine_and_why(
    composed: Composed, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], why: str
) -> None:
    monkeypatch.setattr(notes, "gpu_names", lambda: names)
    told = composed("engine=auto", "seed=1,2", flags=("-m",))[0].notes
    assert told == (f"engine=auto: the simulated engine, because {why}; times and energies are computed",)


def test_auto_hardware_names_its_preset(composed: Composed) -> None:
    (told,) = composed("hardware=auto")[0].notes
    assert told.startswith("hardware=auto: the figures of NVIDIA A100-SXM4-40GB")


def test_each_extended_context_is_told_once(composed: Composed) -> None:
    (told,) = composed("model.max_model_len=9000", "seed=1,2", flags=("-m",))[0].notes
    assert told.startswith("bench-8b: a context of 9000 tokens is longer than the 8192 it was trained for")
