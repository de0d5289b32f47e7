"""Results of benchmarks as JSON files, and the sections of documentation pages that are written from them."""

import json
import re
from pathlib import Path
from typing import Any

_RESULTS = Path(__file__).parent / "results"
_DOCS = Path(__file__).parent.parent / "docs"


def write_results(name: str, results: dict[str, Any]) -> None:
    """Store the results of a benchmark in ``benchmarks/results/``."""
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")


def read_results(name: str) -> dict[str, Any] | None:
    """Return the results of a benchmark's last run; None if there are none."""
    path = _RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def write_section(page: str, heading: str, body: str) -> None:
    """Replace the section ``## heading`` of ``docs/<page>`` by ``body``; append it if the page has none."""
    path = _DOCS / page
    path.write_text(with_section(path.read_text(), heading, body))


def with_section(text: str, heading: str, body: str) -> str:
    """Return the text of a page with this section."""
    section = f"## {heading}\n\n{body.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(text) is None:
        return f"{text.rstrip()}\n\n{section}"
    return pattern.sub(lambda match: section + ("\n" if match.end() < len(text) else ""), text, count=1)
