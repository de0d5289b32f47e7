import pyarrow as pa
import pytest

from orchestrator.analysis.candidates import WHOLE, attainment, limits_of, percentile_key, pooled, share
from orchestrator.measure.window import Window
from orchestrator.records.series import REQUESTS, STEPS
from orchestrator.spec.settings import Slo

WINDOW = Window(rule="workflows", start_s=0, end_s=100)


SLO = Slo(ttft_ms=500, workflow_ms=3000, attainment_ratio=0.75)


def some_series(*first_and_last_s):
    """A workflow of one request each: due and submitted at 0, first token and end as given, three tokens."""
    rows = [
        {"request_id": f"r{i}", "workflow_id": f"w{i}", "output_tokens": 3, "parents": []}
        | {"submitted_s": 0.0, "first_token_s": first_s, "arrival_s": 0.0, "finished_s": last_s}
        for i, (first_s, last_s) in enumerate(first_and_last_s)
    ]
    return {
        name: pa.Table.from_pylist([{key: row.get(key) for key in schema.names} for row in rows], schema=schema)
        for name, schema in (("requests", REQUESTS), ("steps", STEPS))
    }


def test_a_cell_is_judged_by_the_objective_and_by_it_without_each_limit():
    result = attainment(
        some_series((0.4, 2), (0.4, 4), (0.6, 2), (0.6, 4)), WINDOW, SLO.model_copy(update={"tpot_ms": 900})
    )

    assert {name: dict(pooled([result], name)) for name in result} == {
        WHOLE: {"slo_attainment_ratio": 0.25, "workflow_slo_attainment_ratio": 0.5},
        "ttft_ms": {"slo_attainment_ratio": 0.5, "workflow_slo_attainment_ratio": 0.5},
        "tpot_ms": {"slo_attainment_ratio": 0.5, "workflow_slo_attainment_ratio": 0.5},
        "workflow_ms": {"slo_attainment_ratio": 0.25},
    }


def test_repeats_are_averaged_and_the_lesser_share_is_that_of_the_cell():
    repeats = [attainment(some_series(*spans), WINDOW, SLO) for spans in ([(0.4, 2)], [(0.6, 2)])]
    assert pooled(repeats, WHOLE) == {"slo_attainment_ratio": 0.5, "workflow_slo_attainment_ratio": 1.0}
    assert share(repeats) == 0.5


def test_what_one_repeat_lacks_is_absent_and_nothing_judged_is_no_share():
    repeats = [attainment(some_series(*spans), WINDOW, SLO) for spans in ([(0.4, 2)], [])]
    assert pooled(repeats, WHOLE) == {}
    assert share(repeats) == 0


@pytest.mark.parametrize(("ratio", "key"), [(0.99, "p99_ttft_ms"), (0.5, "median_ttft_ms"), (0.98, None)])
def test_the_percentile_that_belongs_to_a_share(ratio, key):
    assert percentile_key("ttft_ms", Slo(ttft_ms=1, attainment_ratio=ratio)) == key
    assert limits_of(SLO) == {"ttft_ms": 500, "workflow_ms": 3000}
