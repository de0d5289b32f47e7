import io

import pytest
from rich.console import Console

from orchestrator.records.text_format import duration, energy
from orchestrator.sweep.progress import SweepProgress


class Now:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def _lines(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()


def test_off_a_terminal_a_line_every_five_seconds_and_one_at_the_end():
    now, console = Now(), Console(file=io.StringIO(), width=200)
    with SweepProgress(40, console=console, now_s=now) as progress:
        for _ in range(20):
            now.s += 1
            progress.cell_ended("ok", {"total_gpu_energy_j": 1000.0})
        progress.cell_ended("failed", {})
        progress.cell_ended("invalid", {"total_gpu_energy_j": 500.0})
    lines = _lines(console)
    assert lines[:4] == [
        "5/40 cells, 1 cells/s, 35 s left, 5 kJ (1.39 Wh)",
        "10/40 cells, 1 cells/s, 30 s left, 10 kJ (2.78 Wh)",
        "15/40 cells, 1 cells/s, 25 s left, 15 kJ (4.17 Wh)",
        "20/40 cells, 1 cells/s, 20 s left, 20 kJ (5.56 Wh)",
    ]
    assert lines[4:] == ["22/40 cells, 1 failed, 1 invalid, 1.1 cells/s, 16 s left, 20.5 kJ (5.69 Wh)"]


def test_energy_nobody_measured_is_not_shown_as_zero():
    console = Console(file=io.StringIO(), width=200)
    with SweepProgress(1, console=console, now_s=Now()) as progress:
        progress.cell_ended("ok", {})
    assert _lines(console) == ["1/1 cells"]


def test_simulated_energy_says_so_and_nothing_to_do_says_nothing():
    console = Console(file=io.StringIO(), width=200)
    with SweepProgress(1, simulated=True, console=console, now_s=Now()) as progress:
        progress.cell_ended("ok", {"total_gpu_energy_j": 532.4})
    with SweepProgress(0, console=console):
        pass
    (line,) = _lines(console)
    assert line.endswith("532 J simulated")


def test_on_a_terminal_a_bar_is_drawn_and_taken_away():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with SweepProgress(2, console=console) as progress:
        progress.print_line("cell [a] failed")
        progress.cell_ended("ok", {"total_gpu_energy_j": 12.0})
    text = console.file.getvalue()
    assert "\x1b[" in text
    assert "━" in text
    assert "cell [a] failed" in text
    assert "1/2 cells" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("energy_j", "text"),
    [(0.0, "0 J"), (532.4, "532 J"), (12_345, "12.35 kJ (3.43 Wh)"), (4_200_000, "4.2 MJ (1.17 kWh)")],
)
def test_energy_for_people(energy_j, text):
    assert energy(energy_j) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(42.4, "42 s"), (425, "7 min 05 s"), (12_000, "3 h 20 min"), (216_000, "2.5 days")]
)
def test_duration_for_people(seconds, text):
    assert duration(seconds) == text
