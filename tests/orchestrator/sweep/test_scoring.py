"""What the driver adds to a result, and what a resume judges by."""

from sample_sweeps import settings

from orchestrator.records.record import CellResult
from orchestrator.records.series import SCHEMAS
from orchestrator.spec.settings import Settings, Slo, Tariff
from orchestrator.store.sweep import new_start
from orchestrator.sweep.scoring import judged, judged_otherwise, judging_as_before

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
    found = judged(_result(), Settings(slo=_CHAT, tariff=Tariff(price_per_kwh_usd=0.3)))
    assert found.metrics == {"total_gpu_energy_j": 3.6e6, "cost_usd": 0.3, "request_goodput": 0.0}
    assert found.provenance == {
        "engine": "simulated",
        "slo": {"name": "chat", "ttft_ms": 400.0, "tpot_ms": 100.0, "attainment_ratio": 0.99},
        "tariff": {"price_per_kwh_usd": 0.3},
    }


def test_without_either_a_result_stays_as_it_is():
    assert judged(_result(), Settings()) == _result()


def test_a_resume_judges_as_the_last_start_did_unless_it_says_otherwise():
    last = new_start((), settings(slo=_CHAT), {})
    resumed = judging_as_before(settings(tariff=Tariff(carbon_g_per_kwh=9)), last)
    assert (resumed.slo, resumed.tariff.carbon_g_per_kwh) == (_CHAT, 9)
    assert judged_otherwise(resumed, last) == (
        "tariff: cells that are kept have the costs of the last start's; others of this one's",
    )
    strict = judging_as_before(settings(slo=Slo(ttft_ms=50)), last)
    assert judged_otherwise(strict, last) == (
        "slo: cells that are kept were judged by chat: TTFT ≤ 400 ms, TPOT ≤ 100 ms for 99 %; "
        "others by TTFT ≤ 50 ms for 99 %",
    )
    before_there_were_any = last.model_copy(update={"settings": {}})
    assert judging_as_before(settings(), before_there_were_any) == settings()
