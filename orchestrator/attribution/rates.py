"""What a second, a byte, a FLOP and a sample cost above idle: assumed by the data sheet, fitted to the sensor."""

from dataclasses import dataclass

import numpy as np

from orchestrator.hardware_spec import HardwareSpec
from orchestrator.measure.columns import Floats
from orchestrator.measure.map_fit import fit_logs, soft_l1

_ACTIVE_SHARE = 0.1
_MEMORY_SHARE = 0.6
_COMPUTE_SHARE = 1.2
_SAMPLING_SHARE = 0.6
"""Of the default power limit: busy without work, memory and arithmetic at their peaks, sampling; after an H100's."""
_SAMPLE_S = 4e-5
"""Time to sample one token of a vocabulary of 128,000."""

_PRIOR_DEVIATION = np.log(2.0)
_LOG_BOUNDS = (-5.0, 5.0)
_NOISE_RATIO = 0.1


def assumed_rates(hardware: HardwareSpec, vocab_size: int) -> Floats:
    """Rates above idle of one GPU, by `orchestrator.attribution.work.TERMS`: W, J/byte, J/FLOP, J/sample; shape (4,).

    Shares of the default power limit that hold within a factor of two on GPUs of the last three generations.
    """
    limit_w = hardware.default_power_limit_w
    return np.array(
        [
            _ACTIVE_SHARE * limit_w,
            _MEMORY_SHARE * limit_w / (hardware.memory_bandwidth_gb_s * 1e9),
            _COMPUTE_SHARE * limit_w / (hardware.peak_tflops * 1e12),
            _SAMPLING_SHARE * limit_w * _SAMPLE_S * vocab_size / 128_000,
        ]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Rates and how far they are off the sensor: ``misfit_ratio`` is the mean absolute error over the mean."""

    rates: Floats
    misfit_ratio: float


def fitted_rates(work: Floats, energy_j: Floats, assumed: Floats) -> Fit:
    """The rates that explain the energy above idle of intervals, the assumed ones where these cannot tell.

    The maximum of a posterior: each rate is log-normal around the assumed one by a factor of two, the energy of an
    interval off by a tenth of their mean, or more than that where it is an outlier (soft L1).

    Args:
        work: of the intervals, all GPUs together; shape (intervals, 4).
        energy_j: above idle, of the same; shape (intervals,).
        assumed: `assumed_rates`; shape (4,).
    """
    mean_j = max(float(np.mean(energy_j)), 1e-9) if len(energy_j) else 1.0
    scale_j = _NOISE_RATIO * mean_j
    expected = work * assumed / scale_j
    measured = energy_j / scale_j

    def residuals(logs: Floats) -> Floats:
        return soft_l1(expected @ np.exp(logs) - measured)

    found = fit_logs(residuals, np.full(len(assumed), _PRIOR_DEVIATION), _LOG_BOUNDS)
    rates = assumed * np.exp(found.logs)
    misfit = float(np.mean(np.abs(work @ rates - energy_j)) / mean_j) if len(energy_j) else 0.0
    return Fit(rates=rates, misfit_ratio=misfit)
