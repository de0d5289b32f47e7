"""Power sources: one file each, found by name (``collectors.power``)."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collectors.errors import CollectorError
from collectors.source import PowerSource


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A kind of source and what it reads; sent to the process that samples."""

    kind: str
    """Name of a file in this folder, or the dotted path of a module of the user."""
    devices: Sequence[str] = ()
    path: Path | None = None

    def build(self) -> PowerSource:
        """Return the source, not opened.

        Raises:
            CollectorError: There is no such source, or it cannot read these devices on this machine.
        """
        name = self.kind if "." in self.kind else f"{__name__}.{self.kind}"
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name + ".").startswith(error.name + "."):
                raise
            raise CollectorError(f"power source {self.kind!r}: no module {name}") from error
        source: PowerSource = module.build(self.devices, self.path)
        return source
