"""Attribution against the truth it cannot see: simulated cells whose energies are hidden behind a played sensor."""

from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks.attribution_truth import Hidden, drawn_factors, hidden
from benchmarks.played_sensor import Sensor
from orchestrator.attribution.attribute import METHOD, Attribution, attribute, with_attribution
from orchestrator.measure.columns import Columns
from orchestrator.measure.summary import summarise
from orchestrator.spec.cell import Cell

CHAT = ("workflow=chat", "load=closed", "load.users=16", "load.num_workflows=64", "engine.max_num_seqs=16")


@cache
def _case(*overrides: str, seed: int = 1) -> tuple[Hidden, Attribution]:
    case = hidden(*overrides, sensor=Sensor(seed=seed), factors=drawn_factors(seed))
    found = attribute(case.cell, case.shown)
    assert found is not None
    return case, found


def _errors(case: Hidden, found: Attribution) -> np.ndarray:
    truth = case.prefill_j + case.decode_j
    return (found.requests.prefill_j + found.requests.decode_j) / truth - 1


@pytest.mark.parametrize(
    "overrides",
    [
        CHAT,
        (*CHAT, "hardware=h100_sxm", "model=qwen3_30b_a3b"),
        ("workflow=multi_agent_coding", "load.num_workflows=1", "engine.max_num_seqs=16"),
    ],
    ids=["chat", "mixture of experts", "coding agents"],
)
def test_requests_prefill_and_decode_are_within_5_percent(overrides):
    case, found = _case(*overrides)
    assert np.median(np.abs(_errors(case, found))) < 0.05
    assert found.requests.prefill_j.sum() == pytest.approx(case.prefill_j.sum(), rel=0.05)
    assert found.requests.decode_j.sum() == pytest.approx(case.decode_j.sum(), rel=0.05)
    assert abs(found.residual_ratio) < 0.01


def test_what_is_attributed_idle_and_residual_are_the_counter():
    case, found = _case(*CHAT)
    power = Columns(case.shown["power"])
    counter_j = power.floats("energy_j").max()
    attributed_j = (found.requests.prefill_j + found.requests.decode_j).sum()
    assert found.total_j == pytest.approx(counter_j, abs=0.3 * case.cell.gpu.idle_power_w)  # of the first readings
    assert attributed_j + found.idle_j + found.residual_j == pytest.approx(found.total_j, rel=1e-6)
    np.testing.assert_allclose((found.iterations.prefill_j + found.iterations.decode_j).sum(), attributed_j, rtol=1e-9)
    assert found.idle_j == pytest.approx(case.cell.gpu.idle_power_w * 3.0, rel=0.1)  # 2 s before, 1 s behind


def test_a_wrong_gain_of_the_sensor_is_in_all_alike():
    case = hidden(*CHAT, sensor=Sensor(seed=3, gain_ratio=0.05))
    found = attribute(case.cell, case.shown)
    errors = _errors(case, found)
    assert abs(np.median(errors)) < 0.06
    assert np.std(errors - np.median(errors)) < 0.05


@pytest.mark.parametrize("counter", ["sampled", "none"])
def test_a_counter_that_sees_a_quarter_of_the_time_or_none_is_enough(counter):
    case = hidden(*CHAT, sensor=Sensor(seed=2, counter=counter), factors=drawn_factors(2))
    found = attribute(case.cell, case.shown)
    assert np.median(np.abs(_errors(case, found))) < 0.05
    assert found.requests.prefill_j.sum() == pytest.approx(case.prefill_j.sum(), rel=0.06)


def test_several_gpus_are_one_engine():
    case, found = _case("workflow=chat", "model=llama3_1_70b", "engine.tensor_parallel_size=4", *CHAT[1:])
    assert len(Columns(case.shown["power"]).values("device")) > 0
    assert np.median(np.abs(_errors(case, found))) < 0.05


def test_each_of_several_engines_pays_for_its_own_gpus():
    case, found = _case(
        "workflow=multi_agent_coding",
        "load.num_workflows=1",
        "workflow.branches=4",
        "workflow.rounds=1",
        "hardware=h100_sxm",
        "engine.tensor_parallel_size=2",
        "+engine@roles.reviewer.engine=simulated",
        "+model@roles.reviewer.model=qwen3_8b",
        "+roles.reviewer.engine.record_scheduled=true",
    )
    assert np.median(np.abs(_errors(case, found))) < 0.05
    role = Columns(case.shown["requests"]).strings("role")
    for wanted in (role == "reviewer", role != "reviewer"):
        energy_j = (found.requests.prefill_j + found.requests.decode_j)[wanted].sum()
        assert energy_j == pytest.approx((case.prefill_j + case.decode_j)[wanted].sum(), rel=0.02)
    assert len(found.iterations.decode_j) == case.shown["iterations"].num_rows
    fewer = case.shown["power"].filter(pc.field("device") != "GPU-2")
    assert attribute(case.cell, {**case.shown, "power": fewer}) is None


def test_what_was_not_recorded_is_not_attributed():
    case, _ = _case(*CHAT)
    for name in ("scheduled", "power", "iterations"):
        assert attribute(case.cell, {key: table for key, table in case.shown.items() if key != name}) is None
    nothing = {**case.shown, "power": case.shown["power"].slice(0, 1)}
    assert attribute(case.cell, nothing) is None


def test_requests_after_the_sensor_was_lost_have_no_energy():
    case, found = _case(*CHAT)
    t_s = Columns(case.shown["power"]).floats("t_s")
    half_s = float(np.median(t_s))
    cut = attribute(case.cell, {**case.shown, "power": case.shown["power"].filter(pa.array(t_s <= half_s))})
    finished_s = Columns(case.shown["requests"]).floats("finished_s")
    energy_j = cut.requests.prefill_j + cut.requests.decode_j
    assert np.isnan(energy_j[finished_s > half_s + 2]).all()
    before = finished_s < half_s - 1
    whole_j = found.requests.prefill_j + found.requests.decode_j
    assert before.any()
    assert energy_j[before] == pytest.approx(whole_j[before], rel=0.05)


def test_requests_of_nobody_are_residual():
    case, found = _case(*CHAT)
    first = case.shown["requests"].slice(1)
    fewer = attribute(case.cell, {**case.shown, "requests": first})
    gone_j = (found.requests.prefill_j + found.requests.decode_j)[0]
    assert fewer.residual_j == pytest.approx(found.residual_j + gone_j)
    assert fewer.requests.decode_j == pytest.approx(found.requests.decode_j[1:])


def test_the_energies_of_the_engine_are_not_looked_at():
    case, found = _case(*CHAT)
    wrong = case.shown["iterations"]
    for name in ("energy_j", "prefill_energy_j", "decode_energy_j"):
        at = wrong.column_names.index(name)
        wrong = wrong.set_column(at, wrong.schema.field(at), pa.array([1e9] * wrong.num_rows))
    again = attribute(case.cell, {**case.shown, "iterations": wrong})
    np.testing.assert_array_equal(again.requests.decode_j, found.requests.decode_j)


def test_what_the_gpus_did_before_the_cell_is_not_idle_power():
    case, found = _case(*CHAT)
    power = case.shown["power"]
    t_s = np.arange(-0.4, 0.0, 0.05)
    warm = {"t_s": t_s, "device": ["GPU-0"] * len(t_s), "energy_j": 1e3 * (t_s - t_s[0]), "power_w": np.full(8, 1e3)}
    arrays = [pa.array(warm[field.name]) if field.name in warm else pa.nulls(8, field.type) for field in power.schema]
    at = power.column_names.index("energy_j")
    later = power.set_column(at, "energy_j", pa.array(Columns(power).floats("energy_j") + 400.0))
    warmed = attribute(case.cell, {**case.shown, "power": pa.concat_tables([pa.table(arrays, power.schema), later])})
    assert warmed.requests.prefill_j.sum() == pytest.approx(found.requests.prefill_j.sum(), rel=0.01)
    assert warmed.total_j == pytest.approx(found.total_j, rel=0.01)


class _Measured:
    """Options of an engine whose energies are measured."""

    def __init__(self, options):
        self._options = options
        self.simulated = False

    def __getattr__(self, name):
        return getattr(self._options, name)


@pytest.fixture(scope="module")
def case() -> Hidden:
    return hidden("workflow=composite", "load.num_workflows=30", "engine.max_num_seqs=16")


def _as_measured(cell: Cell) -> Cell:
    return cell.model_copy(update={"engine": _Measured(cell.engine)})


def test_energies_of_requests_tenants_and_roles_come_with_the_result(case):
    cell = _as_measured(case.cell)
    found = with_attribution(cell, case.shown)
    assert found.provenance == {"attribution": METHOD}
    assert abs(found.metrics["attribution_residual_ratio"]) < 0.01
    assert 0 < found.metrics["attribution_misfit_ratio"] < 0.5
    requests = Columns(found.series["requests"])
    decode_j = attribute(cell, case.shown).requests.decode_j
    assert requests.floats("decode_energy_j") == pytest.approx(decode_j)
    metrics = summarise(cell, found.series).metrics
    assert metrics["prefill_energy_j"] == pytest.approx(case.prefill_j.sum(), rel=0.06)
    assert metrics["decode_energy_j"] == pytest.approx(case.decode_j.sum(), rel=0.06)
    per_workflow_j = metrics["attributed_energy_j_per_workflow"]
    roles_j = [value for key, value in metrics.items() if key.startswith("role/")]
    assert len(roles_j) > 1
    assert sum(roles_j) == pytest.approx(per_workflow_j)
    assert {
        "tenant/chat/attributed_energy_j_per_workflow",
        "tenant/map_reduce/attributed_energy_j_per_workflow",
    } <= set(metrics)


def test_an_engine_that_knows_its_energies_is_believed(case):
    found = with_attribution(case.cell, case.shown)
    assert found.series == case.shown
    assert found.metrics == {}
    assert found.provenance == {}


def test_nothing_is_added_where_energy_was_not_measured(case):
    series = {name: table for name, table in case.shown.items() if name != "power"}
    found = with_attribution(_as_measured(case.cell), series)
    assert found.series == series
    assert found.metrics == {}
