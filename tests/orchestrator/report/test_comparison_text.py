import io

from analysis_cells import a_measured
from rich.console import Console

from orchestrator.analysis.comparison import FactApart, compare
from orchestrator.records.text_format import MISSING
from orchestrator.report.comparison_text import show

ENERGY, POWER = "gpu_energy_j_per_workflow", "avg_gpu_power_w"


def shown(a, b, *, width=140, apart=()):
    console = Console(file=io.StringIO(), width=width)
    show(console, compare(a, b), apart, ("first", "second"), swept=("engine.max_num_seqs",))
    return console.file.getvalue()


def a_sweep(scale=1.0, cells=6, **config):
    return [a_measured({ENERGY: scale * (n + 1), POWER: 100.0}, engine__max_num_seqs=n, **config) for n in range(cells)]


def test_a_change_says_which_way_it_goes_and_whether_it_is_the_same_everywhere():
    text = shown(a_sweep(), a_sweep(0.9))
    (line,) = (line for line in text.splitlines() if ENERGY in line)
    assert " ".join(line.split()[1:]) == (
        "2.99 2.69 -10.0 % -10.0 % … -10.0 % -10.0 % … -10.0 % 6 <0.0001 better, all alike"
    )
    assert f"no difference, equal in every pair: 1\n  chat: {POWER}" in text


def test_a_narrow_terminal_shows_what_matters_most():
    text = shown(a_sweep(), a_sweep(0.9), width=100)
    (line,) = (line for line in text.splitlines() if ENERGY in line)
    assert " ".join(line.split()[1:]) == "-10.0 % -10.0 % … -10.0 % <0.0001 better, all alike"


def test_the_only_pair_is_listed_apart():
    text = shown(a_sweep(cells=1), a_sweep(2.0, cells=1))
    assert text.index("changed: 0 of 1 tests") < text.index("changed in the only pair there is; not tested")
    assert "+100.0 %" in text


def test_commits_are_short_and_the_figures_of_a_choice_are_only_named():
    a, b = (a_sweep(hardware__name=name, hardware__memory_gib=gib) for name, gib in (("old", 40), ("new", 80)))
    text = shown(a, b, apart=[FactApart("git.commit", ("0123456789abcdef" * 2 + "01234567",), ())])
    assert f"  git.commit: 0123456789ab | {MISSING}\n" in text
    assert "set aside: hardware.name: old | new\n  and with it memory_gib\n" in text


def test_cells_without_a_partner_are_named():
    assert "without a partner in B: 2: max_num_seqs=4; max_num_seqs=5\n" in shown(a_sweep(cells=4), a_sweep())
