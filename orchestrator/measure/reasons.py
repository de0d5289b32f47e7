"""Reasons why a cell that ran is invalid, and so not pooled: code, whether a resume runs it again, and meaning."""

from dataclasses import dataclass

from orchestrator.records.record import Reason


@dataclass(frozen=True, slots=True)
class ReasonKind:
    """One row of the table in docs/method.md. A ``transient`` reason may be absent when the cell is run again."""

    code: str
    transient: bool
    meaning: str


REASONS: tuple[ReasonKind, ...] = (
    ReasonKind("window_too_short", False, "the window is shorter than `protocol.min_window_s`"),
    ReasonKind(
        "not_cooled_down",
        True,
        "a GPU was still too warm when the cell had waited `protocol.cooldown_timeout_s`, or reported no temperature",
    ),
    ReasonKind(
        "client_limited",
        True,
        "at the 99th percentile, workflows were sent more than `protocol.max_send_delay_ms` after they were due",
    ),
    ReasonKind("requests_failed", True, "requests of the window were answered without any token"),
    ReasonKind(
        "sensor_lost", True, "a GPU has no samples, or they begin or end inside the window; its energy is absent"
    ),
    ReasonKind(
        "sampler_gap",
        True,
        "two samples are more than `protocol.max_sample_gap_s` apart, or gaps take more than 5 % of the window",
    ),
    ReasonKind("counter_backwards", True, "the energy counter fell, and not by a range it is known to wrap at"),
    ReasonKind("counter_stuck", True, "the energy counter stood still for 2 s while the sensor showed power"),
    ReasonKind(
        "counter_integral_gap",
        True,
        "energy counter and integral of power differ by more than `protocol.max_energy_gap_ratio`",
    ),
    ReasonKind(
        "energy_uncertain",
        False,
        "the uncertainty from the window's edges is more than `protocol.max_energy_uncertainty_ratio` of its energy",
    ),
    ReasonKind(
        "power_near_sensor_period",
        False,
        "work, or power, repeats so near the sensor's period (or a part of it) that its samples do not show the mean",
    ),
    ReasonKind(
        "power_implausible",
        True,
        "more than 1 % of the samples are 2 W and less, or above 1.5 times the most that the GPU's limit may be",
    ),
    ReasonKind(
        "thermal_throttling",
        True,
        "heat reduced the clock for more than `protocol.max_throttled_ratio` of the window",
    ),
    ReasonKind(
        "power_brake",
        True,
        "the power supply's brake reduced the clock for more than `protocol.max_throttled_ratio` of the window",
    ),
    ReasonKind("foreign_process", True, "a process that is not the engine's computed on one of its GPUs"),
    ReasonKind(
        "shared_gpu",
        False,
        "the engine had a MIG instance of a GPU that has, or may have, others: the energy is not the cell's alone",
    ),
    ReasonKind(
        "gpus_set_by_others",
        True,
        "the cell asks for no limit or clock, and another process controls its GPUs or a journal says that one may be "
        "left on them, another user's or one that cannot be undone",
    ),
    ReasonKind("limit_not_held", True, "the enforced power limit was not the requested one, or changed"),
    ReasonKind(
        "clock_not_held",
        False,
        "for more than 5 % of the busy time the SM clock was not the locked one, and no power limit was the cause",
    ),
)

_BY_CODE = {kind.code: kind for kind in REASONS}


def because(code: str, detail: str) -> Reason:
    """Return a reason of the table; ``detail`` states in one line by how much, and what to do."""
    return Reason(code=code, detail=detail, transient=_BY_CODE[code].transient)


def as_markdown() -> str:
    """Return the table as it is in docs/method.md."""
    rows = (f"| `{kind.code}` | {'transient' if kind.transient else 'inherent'} | {kind.meaning} |" for kind in REASONS)
    return "| reason | kind | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"
