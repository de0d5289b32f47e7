"""Rules of the source that no linter states; the order of imports is checked by import-linter (pyproject.toml)."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def _modules() -> list[Path]:
    return [
        path for name in ("orchestrator", "workflows", "collectors") for path in sorted((ROOT / name).rglob("*.py"))
    ]


def test_modules_are_short_enough_to_read():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in _modules()}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


SETS = re.compile(r"nvml\w*(?<!Event)(Set|Reset|Clear|Create|Destroy|Activate)[A-Z]")
"""What of NVML sets something; `nvmlEventSet…` is a set of events."""


def test_only_setters_set_a_gpu():
    named = {
        str(path.relative_to(ROOT))
        for folder in ("orchestrator", "workflows", "collectors", "benchmarks", "cluster", "hydra_plugins")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and SETS.match(node.attr)
    }
    assert named == {"collectors/control/setters/nvml.py"}
