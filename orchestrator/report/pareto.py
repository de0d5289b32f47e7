"""The energy-latency front: the points that no other point beats."""

import math
from collections.abc import Sequence


def pareto_front(costs: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points no other point dominates, in ascending order of the first cost.

    Both costs are better when lower. A point dominates another when it is no worse in both and better in one, so
    equal points are all members. Points with a cost that is not a number are never members.
    """
    known = [index for index, (first, second) in enumerate(costs) if not math.isnan(first + second)]
    ordered = sorted(known, key=lambda index: costs[index])
    front: list[int] = []
    for index in ordered:
        if not front or costs[index][1] < costs[front[-1]][1] or costs[index] == costs[front[-1]]:
            front.append(index)
    return front
