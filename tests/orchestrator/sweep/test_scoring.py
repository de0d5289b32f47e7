"""What scoring adds to a result, and which objective and tariff a resume inherits."""

from sample_sweeps import settings

from orchestrator.records.record import CellResult
from orchestrator.records.series import SCHEMAS
from orchestrator.spec.settings import Settings, Slo, Tariff
from orchestrator.store.sweep import new_start
from orchestrator.sweep.record_writer import scored
from orchestrator.sweep.resume import inherit_settings, scoring_changes

_CHAT = Slo(name="chat", ttft_ms=400, tpot_ms=100)


def _result() -> CellResult:
    return CellResult(
        status="ok",
        simulated=True,
        reasons=(),
        window={"rule": "steady_state", "start_s": 0.0, "end_s": 10.0, "k": 3},
        phases=(),
        provenance={"engine": "simulated"},
        metrics={"total_gpu_energy_j": 3.6e6},
        series={name: schema.empty_table() for name, schema in SCHEMAS.items()},
    )


def test_an_objective_and_a_tariff_add_their_metrics_and_say_so():
    result = scored(_result(), Settings(slo=_CHAT, tariff=Tariff(price_per_kwh_usd=0.3)))
    assert result.metrics == {"total_gpu_energy_j": 3.6e6, "cost_usd": 0.3, "request_goodput": 0.0}
    assert result.provenance == {
        "engine": "simulated",
        "slo": {"name": "chat", "ttft_ms": 400.0, "tpot_ms": 100.0, "attainment_ratio": 0.99},
        "tariff": {"price_per_kwh_usd": 0.3},
    }


def test_without_either_a_result_stays_as_it_is():
    assert scored(_result(), Settings()) == _result()


def test_a_resume_inherits_objective_and_tariff_of_the_last_start_unless_it_gives_its_own():
    last = new_start((), settings(slo=_CHAT), {})
    resumed = inherit_settings(settings(tariff=Tariff(carbon_g_per_kwh=9)), last)
    assert (resumed.slo, resumed.tariff.carbon_g_per_kwh) == (_CHAT, 9)
    assert scoring_changes(resumed, last) == (
        "tariff: existing cells have the costs of the last start; new cells those of this start",
    )
    strict = inherit_settings(settings(slo=Slo(ttft_ms=50)), last)
    assert scoring_changes(strict, last) == (
        "slo: existing cells were scored with chat: TTFT ≤ 400 ms, TPOT ≤ 100 ms for 99 %; "
        "new cells with TTFT ≤ 50 ms for 99 %",
    )
    before_there_were_any = last.model_copy(update={"settings": {}})
    assert inherit_settings(settings(), before_there_were_any) == settings()
