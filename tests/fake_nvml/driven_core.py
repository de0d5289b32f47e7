"""The simulated scheduler, one iteration at a time, with GPUs that work on each."""

from orchestrator.costmodel.cost import CostModel
from orchestrator.engines.simulated.core import EngineCore
from orchestrator.engines.simulated.kv_cache import KvCache
from orchestrator.engines.simulated.log import Run
from orchestrator.engines.simulated.scheduler import Step
from orchestrator.spec.cell import Cell
from tests.fake_nvml.driven_gpus import DrivenGpus
from workflows.clock import Clock

LEAD_S = 0.005
"""An iteration is scheduled so long before the present one ends, like vLLM's asynchronous scheduling: so the GPU does
not pause between iterations, and no load of the past is set."""


class DrivenCore(EngineCore):
    """Schedules iterations in real time: one begins not before it is scheduled, so GPUs rest if the process is late."""

    def __init__(self, cell: Cell, cache: KvCache, clock: Clock, gpus: DrivenGpus, *, origin_s: float) -> None:
        self._cell = cell
        self._gpus = gpus
        self._cost_models: dict[tuple[float, int], CostModel] = {}
        super().__init__(
            cell.engine, self._costs_now(), cache, clock, "step_by_step", origin_s=origin_s, record_scheduled=True
        )

    def _plan(self, step: Step, start_s: float) -> Run:
        self._costs = self._costs_now()
        run = super()._plan(step, max(start_s, self._clock.now_s()))
        self._gpus.work(run, energy_of(run))
        return run

    def _set_timer(self, run: Run) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_at(run.end_s - LEAD_S, self._complete)

    def _costs_now(self) -> CostModel:
        """Return the costs under the present limit and clock of the GPUs."""
        limit_w, clock_mhz = self._gpus.limits()
        costs = self._cost_models.get((limit_w, clock_mhz))
        if costs is None:
            limits = {"power_limit_w": limit_w, "sm_clock_mhz": clock_mhz}
            hardware = self._cell.gpu.model_copy(update=limits)
            costs = CostModel(self._cell.model, hardware, self._cell.engine.tensor_parallel_size)
            self._cost_models[limit_w, clock_mhz] = costs
        return costs


def energy_of(run: Run) -> float:
    """Return the energy that `Run.charge` divides among the sequences of an iteration, before it is complete."""
    cost, chunks = run.cost, run.step.chunks
    n_tokens = run.step.n_decoding + sum(chunk.n_tokens for chunk in chunks)
    n_pairs = run.context_tokens + sum(chunk.n_pairs - chunk.end for chunk in chunks)
    return (
        cost.shared_j(cost.time_s(run.context_tokens))
        + cost.token_j * n_tokens
        + cost.sample_j * run.n_sampled
        + cost.context_j * run.context_tokens
        + cost.pair_j * n_pairs
    )
