"""Duration of an iteration at an SM clock, term by term (docs/simulation.md)."""

from orchestrator.costmodel.work import Batch, ModelWork
from orchestrator.spec.hardware import HardwareSpec

_REFERENCE_VOCAB_SIZE = 128_256
"""The sampling overhead was fitted on models with this vocabulary size, and is proportional to it."""


class StepTime:
    """Durations of iterations of one model on one kind of GPU."""

    def __init__(self, work: ModelWork, hardware: HardwareSpec) -> None:
        calibration = hardware.calibration
        self._work = work
        self._calibration = calibration
        bandwidth = hardware.memory_bandwidth_gb_s * 1e9
        flop_rate = hardware.peak_tflops * 1e12
        self._weight_bandwidth = calibration.weight_bandwidth_efficiency * bandwidth
        self._expert_bandwidth = calibration.expert_bandwidth_efficiency * bandwidth
        self._flop_rate = calibration.flop_efficiency * flop_rate
        self._expert_flop_rate = calibration.expert_flop_efficiency * flop_rate
        self._kv_read_s = work.kv_bytes_per_token / (calibration.kv_bandwidth_efficiency * bandwidth)
        link = calibration.allreduce_bandwidth_efficiency * hardware.interconnect_gb_s * 1e9
        self._allreduce_s_per_token = work.allreduce_bytes_per_token / link
        self._launch_s = (
            work.n_layers * calibration.layer_overhead_s
            + work.n_moe_layers * calibration.moe_layer_overhead_s
            + (2 * work.n_layers * calibration.allreduce_latency_s if work.n_gpus > 1 else 0.0)
        )
        self._sample_s = calibration.sequence_overhead_s * work.vocab_size / _REFERENCE_VOCAB_SIZE

    def fixed_s(self, batch: Batch, clock_ratio: float) -> float:
        """Return the duration at ``clock_ratio`` of the highest SM clock, without reading the KV cache. Units: s."""
        calibration = self._calibration
        share = calibration.overhead_clock_share
        launch_s = self._launch_s + (calibration.prefill_overhead_s if batch.has_prefill else 0.0)
        return (
            calibration.step_overhead_s
            + launch_s * (1 - share + share / clock_ratio)
            + self._gemm_s(batch, clock_ratio)
            + self._experts_s(batch.n_tokens, clock_ratio)
            + batch.n_tokens * self._allreduce_s_per_token
            + batch.prefill_pairs * self._work.flops_per_pair / (self._flop_rate * clock_ratio)
            + batch.n_sampled * self.sample_s(clock_ratio)
        )

    def context_s(self, clock_ratio: float) -> float:
        """Return the time to read the keys and values of one token. Units: s."""
        return self._kv_read_s * self._read_slowdown(clock_ratio)

    def sample_s(self, clock_ratio: float) -> float:
        """Return the time to sample one token of one sequence. Units: s."""
        return self._sample_s * (0.3 + 0.7 / clock_ratio)

    def _gemm_s(self, batch: Batch, clock_ratio: float) -> float:
        flops = batch.n_tokens * self._work.flops_per_token + batch.n_sampled * self._work.flops_per_sample
        read_s = self._work.weight_bytes / self._weight_bandwidth * self._read_slowdown(clock_ratio)
        return self._roofline_s(read_s, flops / (self._flop_rate * clock_ratio))

    def _experts_s(self, n_tokens: int, clock_ratio: float) -> float:
        if not self._work.n_moe_layers:
            return 0.0
        flops = n_tokens * self._work.expert_flops_per_token
        read_s = self._work.expert_bytes(n_tokens) / self._expert_bandwidth * self._read_slowdown(clock_ratio)
        return self._roofline_s(read_s, flops / (self._expert_flop_rate * clock_ratio))

    def _read_slowdown(self, clock_ratio: float) -> float:
        """Return the factor by which reading is slower: at low clocks the SMs cannot use the full memory bandwidth."""
        return max(1.0, self._calibration.bandwidth_clock_ratio / clock_ratio)

    def _roofline_s(self, memory_s: float, compute_s: float) -> float:
        """Return a smooth maximum, the p-norm of both times. Units: s."""
        longer, shorter = max(memory_s, compute_s), min(memory_s, compute_s)
        exponent = self._calibration.roofline_exponent
        return float(longer * (1 + (shorter / longer) ** exponent) ** (1 / exponent))
