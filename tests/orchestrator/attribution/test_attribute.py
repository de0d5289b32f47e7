"""Attribution against known energies: simulated cells whose energies are hidden behind a simulated sensor."""

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
    attribution = attribute(case.cell, case.shown)
    assert attribution is not None
    return case, attribution


def _errors(case: Hidden, attribution: Attribution) -> np.ndarray:
    truth = case.prefill_j + case.decode_j
    return (attribution.requests.prefill_j + attribution.requests.decode_j) / truth - 1


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
    case, attribution = _case(*overrides)
    assert np.median(np.abs(_errors(case, attribution))) < 0.05
    assert attribution.requests.prefill_j.sum() == pytest.approx(case.prefill_j.sum(), rel=0.05)
    assert attribution.requests.decode_j.sum() == pytest.approx(case.decode_j.sum(), rel=0.05)
    assert abs(attribution.residual_ratio) < 0.01


def test_attributed_idle_and_residual_energy_add_up_to_the_counter():
    case, attribution = _case(*CHAT)
    power = Columns(case.shown["power"])
    counter_j = power.floats("energy_j").max()
    attributed_j = (attribution.requests.prefill_j + attribution.requests.decode_j).sum()
    assert attribution.total_j == pytest.approx(
        counter_j, abs=0.3 * case.cell.gpu.idle_power_w
    )  # of the first readings
    assert attributed_j + attribution.idle_j + attribution.residual_j == pytest.approx(attribution.total_j, rel=1e-6)
    np.testing.assert_allclose(
        (attribution.iterations.prefill_j + attribution.iterations.decode_j).sum(), attributed_j, rtol=1e-9
    )
    assert attribution.idle_j == pytest.approx(case.cell.gpu.idle_power_w * 3.0, rel=0.1)  # 2 s before, 1 s behind


def test_a_wrong_gain_of_the_sensor_changes_all_requests_alike():
    case = hidden(*CHAT, sensor=Sensor(seed=3, gain_ratio=0.05))
    attribution = attribute(case.cell, case.shown)
    errors = _errors(case, attribution)
    assert abs(np.median(errors)) < 0.06
    assert np.std(errors - np.median(errors)) < 0.05


@pytest.mark.parametrize("counter", ["sampled", "none"])
def test_a_sampled_counter_or_none_is_sufficient(counter):
    case = hidden(*CHAT, sensor=Sensor(seed=2, counter=counter), factors=drawn_factors(2))
    attribution = attribute(case.cell, case.shown)
    assert np.median(np.abs(_errors(case, attribution))) < 0.05
    assert attribution.requests.prefill_j.sum() == pytest.approx(case.prefill_j.sum(), rel=0.06)


def test_several_gpus_are_one_engine():
    case, attribution = _case("workflow=chat", "model=llama3_1_70b", "engine.tensor_parallel_size=4", *CHAT[1:])
    assert len(Columns(case.shown["power"]).values("device")) > 0
    assert np.median(np.abs(_errors(case, attribution))) < 0.05


def test_each_of_several_engines_pays_for_its_own_gpus():
    case, attribution = _case(
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
    assert np.median(np.abs(_errors(case, attribution))) < 0.05
    role = Columns(case.shown["requests"]).strings("role")
    for wanted in (role == "reviewer", role != "reviewer"):
        energy_j = (attribution.requests.prefill_j + attribution.requests.decode_j)[wanted].sum()
        assert energy_j == pytest.approx((case.prefill_j + case.decode_j)[wanted].sum(), rel=0.02)
    assert len(attribution.iterations.decode_j) == case.shown["iterations"].num_rows
    fewer = case.shown["power"].filter(pc.field("device") != "GPU-2")
    assert attribute(case.cell, {**case.shown, "power": fewer}) is None


def test_without_required_series_nothing_is_attributed():
    case, _ = _case(*CHAT)
    for name in ("scheduled", "power", "iterations"):
        assert attribute(case.cell, {key: table for key, table in case.shown.items() if key != name}) is None
    nothing = {**case.shown, "power": case.shown["power"].slice(0, 1)}
    assert attribute(case.cell, nothing) is None


def test_requests_after_the_sensor_was_lost_have_no_energy():
    case, attribution = _case(*CHAT)
    t_s = Columns(case.shown["power"]).floats("t_s")
    half_s = float(np.median(t_s))
    cut = attribute(case.cell, {**case.shown, "power": case.shown["power"].filter(pa.array(t_s <= half_s))})
    finished_s = Columns(case.shown["requests"]).floats("finished_s")
    energy_j = cut.requests.prefill_j + cut.requests.decode_j
    assert np.isnan(energy_j[finished_s > half_s + 2]).all()
    before = finished_s < half_s - 1
    whole_j = attribution.requests.prefill_j + attribution.requests.decode_j
    assert before.any()
    assert energy_j[before] == pytest.approx(whole_j[before], rel=0.05)


def test_energy_of_unknown_requests_is_residual():
    case, attribution = _case(*CHAT)
    first = case.shown["requests"].slice(1)
    fewer = attribute(case.cell, {**case.shown, "requests": first})
    gone_j = (attribution.requests.prefill_j + attribution.requests.decode_j)[0]
    assert fewer.residual_j == pytest.approx(attribution.residual_j + gone_j)
    assert fewer.requests.decode_j == pytest.approx(attribution.requests.decode_j[1:])


def test_energies_of_the_engine_are_not_used():
    case, attribution = _case(*CHAT)
    wrong = case.shown["iterations"]
    for name in ("energy_j", "prefill_energy_j", "decode_energy_j"):
        at = wrong.column_names.index(name)
        wrong = wrong.set_column(at, wrong.schema.field(at), pa.array([1e9] * wrong.num_rows))
    again = attribute(case.cell, {**case.shown, "iterations": wrong})
    np.testing.assert_array_equal(again.requests.decode_j, attribution.requests.decode_j)


def test_energy_before_the_cell_is_not_idle_power():
    case, attribution = _case(*CHAT)
    power = case.shown["power"]
    t_s = np.arange(-0.4, 0.0, 0.05)
    warm = {"t_s": t_s, "device": ["GPU-0"] * len(t_s), "energy_j": 1e3 * (t_s - t_s[0]), "power_w": np.full(8, 1e3)}
    arrays = [pa.array(warm[field.name]) if field.name in warm else pa.nulls(8, field.type) for field in power.schema]
    at = power.column_names.index("energy_j")
    later = power.set_column(at, "energy_j", pa.array(Columns(power).floats("energy_j") + 400.0))
    warmed = attribute(case.cell, {**case.shown, "power": pa.concat_tables([pa.table(arrays, power.schema), later])})
    assert warmed.requests.prefill_j.sum() == pytest.approx(attribution.requests.prefill_j.sum(), rel=0.01)
    assert warmed.total_j == pytest.approx(attribution.total_j, rel=0.01)


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


def test_result_has_energies_of_requests_tenants_and_roles(case):
    cell = _as_measured(case.cell)
    result = with_attribution(cell, case.shown)
    assert result.provenance == {"attribution": METHOD}
    assert abs(result.metrics["attribution_residual_ratio"]) < 0.01
    assert 0 < result.metrics["attribution_misfit_ratio"] < 0.5
    requests = Columns(result.series["requests"])
    decode_j = attribute(cell, case.shown).requests.decode_j
    assert requests.floats("decode_energy_j") == pytest.approx(decode_j)
    metrics = summarise(cell, result.series).metrics
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


def test_energies_that_an_engine_computes_are_kept(case):
    result = with_attribution(case.cell, case.shown)
    assert result.series == case.shown
    assert result.metrics == {}
    assert result.provenance == {}


def test_nothing_is_added_if_energy_was_not_measured(case):
    series = {name: table for name, table in case.shown.items() if name != "power"}
    result = with_attribution(_as_measured(case.cell), series)
    assert result.series == series
    assert result.metrics == {}
