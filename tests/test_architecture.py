"""The direction of imports, and the seams that own a heavy library."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"orchestrator", "workflows", "collectors", "hydra_plugins", "conf", "cluster", "tests"}
MAY_IMPORT = {"workflows": {"workflows"}, "collectors": {"collectors"}}
SEAMS = {
    "ray": {"orchestrator/execution"},
    "mlflow": {"orchestrator/tracking"},
    "plotly": {"orchestrator/report"},
    "matplotlib": {"orchestrator/report", "orchestrator/sensor"},
    "pynvml": {"collectors"},
    "httptools": {"orchestrator/openai_engine"},
    "vllm": {"orchestrator/vllm_engine"},
    "torch": {"orchestrator/vllm_engine", "orchestrator/sensor/matmul.py"},
}


def _modules() -> list[Path]:
    return [
        path for name in ("orchestrator", "workflows", "collectors") for path in sorted((ROOT / name).rglob("*.py"))
    ]


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way_and_heavy_libraries_stay_in_their_seam(path: Path):
    relative = path.relative_to(ROOT)
    imported = _imported(path)
    allowed = MAY_IMPORT.get(relative.parts[0])
    if allowed is not None:
        assert imported & OURS <= allowed
    for library, homes in SEAMS.items():
        if library in imported:
            assert any(relative.is_relative_to(home) for home in homes), f"{library} outside {homes}"
    assert "tests" not in imported


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
