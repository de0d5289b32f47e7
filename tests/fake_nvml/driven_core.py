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
"""An iteration is decided so long before the one in flight ends, as vLLM's asynchronous scheduling does: the GPU need
not pause between them, and is never told of the past."""


class DrivenCore(EngineCore):
    """Where the process is late, its GPUs rest: an iteration begins when it is decided, at the earliest."""

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
        """Under the limit and at the clock that the GPUs have now."""
        limit_w, clock_mhz = self._gpus.limits()
        found = self._cost_models.get((limit_w, clock_mhz))
        if found is None:
            limits = {"power_limit_w": limit_w, "sm_clock_mhz": clock_mhz}
            hardware = self._cell.gpu.model_copy(update=limits)
            found = CostModel(self._cell.model, hardware, self._cell.engine.tensor_parallel_size)
            self._cost_models[limit_w, clock_mhz] = found
        return found


def energy_of(run: Run) -> float:
    """What `Run.charge` divides among the sequences of one iteration, before it is complete."""
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
