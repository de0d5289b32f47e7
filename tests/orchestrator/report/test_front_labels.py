"""Names on a front: members that look like one share a name, the knee comes first, leaders end where they belong."""

import itertools
import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_sweeps import row_of

from orchestrator.analysis.axes import find_axes, with_plain_levels
from orchestrator.analysis.pooling import pool
from orchestrator.report import figures
from orchestrator.report.label_placement import n_unlabelled, place_labels, view_of_front
from orchestrator.report.panels import FrontMember, FrontPanel


def panel_of(*members):
    """A panel whose points are the members, given as (name, s, J), and one that is beaten."""
    made = tuple(FrontMember(label=name, latency_s=x, energy_j=y, cells=()) for name, x, y in members)
    xs, ys = [member.latency_s for member in made], [member.energy_j for member in made]
    return FrontPanel(
        name="p",
        labels=(*(name for name, _, _ in members), "beaten"),
        latencies_s=(*xs, 1.4 * max(xs)),
        energies_j=(*ys, 1.4 * max(ys)),
        members=made,
    )


CROWDED = panel_of(
    ("16 seqs, 400 W", 6.59, 161.0),
    ("16 seqs, 380 W", 6.60, 160.4),
    ("16 seqs, 300 W", 6.69, 158.0),
    ("16 seqs, 240 W", 6.89, 135.0),
    ("16 seqs, 200 W", 7.95, 130.0),
)


def test_members_that_look_like_one_share_a_name_and_none_is_left_out():
    assert {label.text for label in place_labels(CROWDED)} == {
        "16 seqs, 300/380/400 W",
        "16 seqs, 240 W",
        "16 seqs, 200 W",
    }
    assert n_unlabelled([CROWDED]) == 0


def test_the_knee_is_named_first():
    assert place_labels(CROWDED)[0].text == "16 seqs, 240 W"


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("8/16 seqs, 400 W", "8/16 seqs, 380 W"), "8/16 seqs, 380/400 W"),
        (("16 seqs, 400 W", "8 seqs, 380 W"), "16 seqs, 400 W and 1 close by"),
        (("16 seqs, 400 W = 8 seqs, 380 W", "8 seqs, 300 W"), "16 seqs, 400 W = 8 seqs, 380 W and 1 close by"),
    ],
)
def test_what_members_are_called_together(names, text):
    panel = panel_of((names[0], 6.59, 161.0), (names[1], 6.60, 160.5), ("1 seq, 200 W", 9.0, 100.0))
    assert text in [label.text for label in place_labels(panel)]


def test_a_name_without_room_is_counted():
    long = "a name that is far longer than the panel of a figure is wide, whatever its font may be"
    assert n_unlabelled([panel_of((long, 1.0, 9.0), ("b", 5.0, 1.0)), CROWDED]) == 1


@given(st.lists(st.tuples(st.floats(1, 9), st.floats(10, 90)), min_size=2, max_size=12, unique=True))
@settings(max_examples=60, deadline=None)
def test_no_leader_crosses_the_marker_of_a_member_with_another_name(costs):
    costs = list(zip(sorted(x for x, _ in costs), sorted((y for _, y in costs), reverse=True), strict=True))
    panel = panel_of(*((f"{i} seqs, 240 W", *cost) for i, cost in enumerate(costs)))
    view = view_of_front(panel)
    at = {m: (460 * view.x.share(m.latency_s), 380 * view.y.share(m.energy_j)) for m in panel.members}
    for label, share in itertools.product(place_labels(panel), (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)):
        x, y = at[label.member]
        leader = x + share * label.right_px, y + share * label.up_px
        foreign = [place for member, place in at.items() if member not in label.members]
        assert all(math.dist(leader, place) > 4 for place in foreign)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "names every member."),
        (1, "names every member; 1 has no room for a name in the figure."),
        (2, "names every member; 2 have no room for a name in the figure."),
    ],
)
def test_the_caption_says_how_many_are_only_in_the_table(monkeypatch, count, expected):
    monkeypatch.setattr(figures, "n_unlabelled", lambda panels: count)
    frame = with_plain_levels(pd.DataFrame([row_of("copilot", batch, 400.0) for batch in (8, 16)]))
    axes = find_axes(frame)
    drawn = figures.Figures(points=pool(frame, axes), axes=axes, details=(), simulated=True).all()
    assert next(figure.caption for figure in drawn if figure.name == "pareto").endswith(expected)
