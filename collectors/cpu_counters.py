"""Whether this process can read the energy of the CPUs it runs on."""

from collectors.errors import CollectorError
from collectors.sources import rapl


def cpu_counters_readable() -> bool:
    """False where there are none, or only root may read them."""
    try:
        with rapl.build(()) as source:
            return all("energy_j" in source.read(device).values for device in source.devices)
    except CollectorError:
        return False
