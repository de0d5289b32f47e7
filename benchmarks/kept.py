"""Raw results kept beside the benchmarks: what the pages of the documentation are written from."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def write_results(name: str, found: dict[str, Any]) -> None:
    """Keep the results of a benchmark."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def read_results(name: str) -> dict[str, Any] | None:
    """The results of a benchmark's last run; None if it never ran."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None
