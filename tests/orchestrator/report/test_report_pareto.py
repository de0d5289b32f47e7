import math

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.panels import pareto_front

COST = st.one_of(st.integers(0, 5).map(float), st.just(math.nan))


@given(st.lists(st.tuples(COST, COST), max_size=25))
def test_members_are_exactly_the_points_that_nothing_dominates(costs):
    def dominates(one, other):
        return one[0] <= other[0] and one[1] <= other[1] and one != other

    known = [index for index, cost in enumerate(costs) if not math.isnan(cost[0]) and not math.isnan(cost[1])]
    expected = [i for i in known if not any(dominates(costs[j], costs[i]) for j in known)]

    front = pareto_front(costs)

    assert sorted(front) == expected
    assert [costs[i][0] for i in front] == sorted(costs[i][0] for i in front)


def test_no_points_make_no_front():
    assert pareto_front([]) == []
