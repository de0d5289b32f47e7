"""What attribution found: of one engine, or of all engines of a cell."""

from dataclasses import dataclass

from orchestrator.attribution.split import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Energies of the rows of ``requests`` and ``iterations``, and where the rest went. Units: J.

    ``idle_j`` flowed while no iteration ran, ``residual_j`` is on nobody. With what all requests have within the
    readings they are ``total_j``, which the counters told from the first reading to the last.
    """

    requests: Split
    iterations: Split
    idle_j: float
    residual_j: float
    total_j: float
    misfit_ratio: float

    @property
    def residual_ratio(self) -> float:
        """Share of the measured energy that is on nobody."""
        return self.residual_j / self.total_j if self.total_j > 0 else 0.0
