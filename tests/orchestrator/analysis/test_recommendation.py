import random

import pandas as pd
import pytest

from orchestrator.analysis.candidates import candidates
from orchestrator.analysis.recommendation import recommend
from orchestrator.report.recommendation_text import panel_lines, plain
from orchestrator.spec.settings import Slo

ENERGY = "gpu_energy_j_per_workflow"
SLO = Slo(name="mine", ttft_ms=300, tpot_ms=50, workflow_ms=5000, attainment_ratio=0.9)
LIMITS = ("ttft_ms", "tpot_ms", "workflow_ms")
REQUESTS, WORKFLOWS = "slo_attainment_ratio", "workflow_slo_attainment_ratio"


def a_row(kind="chat", batch=8, cap=300, repeat=0, *, energy=1.0, status="ok", p99_ttft_ms=200.0):
    return {
        "cell_id": f"{kind}-{batch}-{cap}-{repeat}",
        "status": status,
        "simulated": True,
        "workflow.kind": kind,
        "engine.max_num_seqs": batch,
        "hardware.power_limit_w": cap,
        "seed": 0,
        "repeat": repeat,
        ENERGY: energy if status == "ok" else None,
        "p99_ttft_ms": p99_ttft_ms,
    }


def an_attainment(ttft=1.0, tpot=1.0, workflow=1.0):
    """The shares within each limit; those of a request are met by the same requests, so the lesser is that of both."""
    shares = {"": {REQUESTS: min(ttft, tpot), WORKFLOWS: workflow}}
    shares["ttft_ms"] = {REQUESTS: tpot, WORKFLOWS: workflow}
    shares["tpot_ms"] = {REQUESTS: ttft, WORKFLOWS: workflow}
    shares["workflow_ms"] = {REQUESTS: min(ttft, tpot)}
    return shares


def recommended(rows, attainments=None, slo=SLO, **options):
    attained = {row["cell_id"]: an_attainment() for row in rows} | (attainments or {})
    panels = candidates(pd.DataFrame(rows), ENERGY, attained, **options)
    return {panel.name: recommend(panel, slo) for panel in panels}


def a_random_table(chance):
    rows, shares = [], {}
    for kind in ("chat", "copilot"):
        for batch in (1, 8, 32):
            for cap in (200, 300):
                for repeat in range(2):
                    status = chance.choices(("ok", "invalid", "failed"), (8, 1, 1))[0]
                    row = a_row(kind, batch, cap, repeat, energy=float(chance.randint(1, 6)), status=status)
                    rows.append(row)
                    shares[row["cell_id"]] = [chance.choice((0.5, 0.85, 0.92, 1.0)) for _ in LIMITS]
    return rows, shares


def by_brute_force(rows, shares, kind, dropped=None):
    """(energy, batch, cap) of the best setting, straight from the rows; None where no setting meets the objective."""
    best = None
    for batch in (1, 8, 32):
        for cap in (200, 300):
            mine = [
                row
                for row in rows
                if (row["workflow.kind"], row["engine.max_num_seqs"], row["hardware.power_limit_w"], row["status"])
                == (kind, batch, cap, "ok")
            ]
            if not mine:
                continue
            judged = []
            for row in mine:
                ttft, tpot, workflow = shares[row["cell_id"]]
                ttft, tpot = (2.0 if dropped == name else s for name, s in (("ttft_ms", ttft), ("tpot_ms", tpot)))
                judged.append((min(ttft, tpot), 2.0 if dropped == "workflow_ms" else workflow))
            means = [sum(pair[i] for pair in judged) / len(judged) for i in (0, 1)]
            energy = sum(row[ENERGY] for row in mine) / len(mine)
            if min(means) >= 0.9 and (best is None or energy < best[0]):
                best = (energy, batch, cap)
    return best


@pytest.mark.parametrize("seed", range(50))
def test_the_choice_and_each_price_are_those_of_brute_force(seed):
    rows, shares = a_random_table(random.Random(seed))
    result = recommended(rows, {cell_id: an_attainment(*three) for cell_id, three in shares.items()})

    for kind in ("chat", "copilot"):
        best, one = by_brute_force(rows, shares, kind), result[kind]
        assert (one.choice is None) == (best is None)
        if best is not None:
            assert one.choice.cost == pytest.approx(best[0])
            settings = [tuple(candidate.levels.values()) for candidate in (one.choice, *one.equal)]
            assert (best[1], best[2]) in settings
        for constraint in one.constraints:
            relaxed = by_brute_force(rows, shares, kind, dropped=constraint.name)
            assert (constraint.relaxed is None) == (relaxed is None)
            if best is not None:
                assert constraint.price == pytest.approx(best[0] - relaxed[0])
        statuses = [row["status"] for row in rows if row["workflow.kind"] == kind]
        assert (one.panel.n_failed, one.panel.n_invalid) == (statuses.count("failed"), statuses.count("invalid"))


def test_repeats_are_pooled_with_an_interval_and_compared_with_the_runner_up():
    cheap = [a_row(batch=8, repeat=i, energy=10 + i) for i in range(3)]
    dear = [a_row(batch=16, repeat=i, energy=(10 + i) * (1.05 + 0.001 * i)) for i in range(3)]
    unclear = [
        a_row("copilot", batch, repeat=i, energy=e)
        for batch, three in ((8, (10, 11, 12)), (16, (14, 9, 12)))
        for i, e in enumerate(three)
    ]
    result = recommended([*cheap, *dear, *unclear])

    chat = result["chat"]
    assert (chat.choice.label, chat.runner_up.label, chat.resolved) == ("8 seqs", "16 seqs", True)
    assert chat.cost.value == pytest.approx(11)
    assert chat.cost.high - chat.cost.low == pytest.approx(2 * 4.302653 / 3**0.5, rel=1e-6)
    assert chat.gap.change == pytest.approx(0.051, abs=1e-3)
    assert result["copilot"].resolved is False


def test_settings_of_equal_cost_are_named_together_and_are_not_the_runner_up():
    rows = [a_row(cap=cap, energy=energy) for cap, energy in ((200, 7.0), (300, 5.0), (400, 5.0 + 1e-12), (500, 7.0))]
    one = recommended(rows)["chat"]
    assert (one.choice.label, [other.label for other in one.equal]) == ("300 W", ["400 W"])
    assert (one.runner_up.label, [other.label for other in one.next_equal]) == ("200 W", ["500 W"])
    assert one.resolved is None
    choice, runner_up, *_ = panel_lines(one, SLO, ENERGY)
    assert choice.startswith("chat: 300/400 W: 5.00")
    assert runner_up.startswith("  runner-up: 200/500 W: 7.00")


def lines_of(one):
    return [line.replace("\u00a0", " ") for line in panel_lines(one, SLO, ENERGY)]


def test_the_time_of_the_choice_stands_beside_that_of_the_runner_up_and_of_the_fastest():
    figures = ((200, 10.0, 8000.0), (240, 10.4, 6000.0), (380, 12.0, 4000.0), (400, 12.0, 4000.0), (300, 13.0, 4000.0))
    rows = [a_row(cap=cap, energy=energy) | {"median_workflow_ms": time} for cap, energy, time in figures]
    one = recommended(
        [*rows, a_row(cap=500, energy=20.0) | {"median_workflow_ms": 1.0}], {"chat-8-500-0": an_attainment(ttft=0.0)}
    )

    choice, edge, runner_up, fastest, *_ = lines_of(one["chat"])
    assert choice == "chat: 200 W: 10.0 J/workflow, 8.00 s median workflow time (1 repeat); 100 % within the limits"
    assert edge == "  200 W is the smallest tried"
    assert runner_up == "  runner-up: 240 W: 10.4 J/workflow (+4.0 %), 6.00 s (\N{MINUS SIGN}25 %)"
    assert fastest == "  fastest within the limits: 380/400 W: 12.0 J/workflow (+20 %), 4.00 s (\N{MINUS SIGN}50 %)"
    text = plain(one["chat"])
    assert (text["time_metric"], text["choice"]["time_ms"], text["runner_up"]["time_ms"]) == (
        "median_workflow_ms",
        8000.0,
        6000.0,
    )
    assert (text["fastest"]["label"], text["fastest"]["time_ms"]) == ("380 W", 4000.0)


@pytest.mark.parametrize(("times", "word"), [((1.0, 2.0), "choice"), ((2.0, 1.0), "runner-up")])
def test_the_fastest_may_be_a_setting_already_named(times, word):
    rows = [
        a_row(cap=cap, energy=cap) | {"median_workflow_ms": time} for cap, time in zip((200, 240), times, strict=True)
    ]
    assert f"  fastest within the limits: the {word}" in lines_of(recommended(rows)["chat"])


def test_a_choice_at_the_end_of_an_axis_is_said_to_be_but_not_where_the_axis_makes_no_difference():
    rows = [a_row(batch=batch, cap=cap, energy=20 - batch) for batch in (1, 8, 16) for cap in (200, 300)]
    inner = [a_row("copilot", batch, energy=abs(batch - 8) + 1) for batch in (1, 8)]
    outer = a_row("copilot", 16, status="failed")
    result = recommended([*rows, *inner, outer])
    assert lines_of(result["chat"])[1] == "  16 seqs is the largest tried"
    assert plain(result["chat"])["edges"] == {"engine.max_num_seqs": "largest"}
    assert result["copilot"].edges == ()


def test_only_a_measured_sweep_is_told_that_it_has_too_few_repeats():
    rows = [a_row(cap=200, energy=1.0), a_row(cap=300, energy=2.0)]
    measured = [row | {"simulated": False} for row in rows]
    assert "  runner-up: 300 W: 2.00 J/workflow (+100 %)" in lines_of(recommended(rows)["chat"])
    expected = "  runner-up: 300 W: 2.00 J/workflow (+100 %); too few repeats to tell whether that is resolved"
    assert expected in lines_of(recommended(measured)["chat"])


def test_without_anything_varied_one_setting_was_tried():
    choice = lines_of(recommended([a_row()])["chat"])[0]
    assert choice.startswith("chat: only one setting was tried: 1.00 J/workflow")


def test_where_nothing_meets_the_objective_the_nearest_miss_is_named():
    rows = [a_row(batch=1, energy=9.0), a_row(batch=8, energy=5.0, p99_ttft_ms=700.0), a_row(batch=32, energy=2.0)]
    missed = {"chat-1-300-0": 0.6, "chat-8-300-0": 0.8, "chat-32-300-0": 0.1}
    slo = SLO.model_copy(update={"attainment_ratio": 0.99})
    one = recommended(rows, {cell_id: an_attainment(ttft=share) for cell_id, share in missed.items()}, slo)["chat"]

    assert (one.choice, one.cost, one.nearest.label, one.n_unmet) == (None, None, "8 seqs", 3)
    ttft, tpot, _ = one.constraints
    assert (ttft.reached_ms, ttft.relaxed.label, ttft.price) == (700.0, "32 seqs", None)
    assert tpot.relaxed is None


def test_what_was_not_judged_does_not_meet_the_objective():
    nothing = {"": {}, **{name: {} for name in LIMITS}}
    one = recommended([a_row()], {"chat-8-300-0": nothing})["chat"]
    assert (one.choice, one.n_unmet) == (None, 1)


def test_what_is_given_is_a_panel_and_what_can_be_set_is_a_choice():
    rows = [a_row(batch=batch) | {"load.users": users} for users in (1, 16) for batch in (1, 8)]
    for row in rows:
        row["cell_id"] += f"-{row['load.users']}"
    result = recommended(rows, swept=("load.users", "engine.max_num_seqs"))
    assert list(result) == ["1 user", "16 users"]
    assert [one.label for one in result["1 user"].panel.candidates] == ["1 seq", "8 seqs"]

    by = recommended(rows, swept=("load.users",), by=["engine.max_num_seqs"])
    assert set(by) == {"1 seq · 1 user", "1 seq · 16 users", "8 seqs · 1 user", "8 seqs · 16 users"}
    assert by["8 seqs · 1 user"].choice.cells == ("chat-8-300-0-1",)


def test_a_cell_without_the_metric_is_counted_apart():
    one = recommended([a_row(batch=1, energy=None), a_row(batch=8)])["chat"]
    assert (one.panel.n_unmeasured, one.choice.label) == (1, "8 seqs")
