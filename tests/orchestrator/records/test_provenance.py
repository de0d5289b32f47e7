import json
import subprocess
import sys
from pathlib import Path

import orchestrator
from orchestrator.records import provenance


def test_what_is_collected_is_plain_data_and_names_the_versions():
    collected = json.loads(json.dumps(provenance.collect()))
    assert collected["versions"]["joulegrid"] == orchestrator.__version__
    assert {"python", "ray", "mlflow", "hydra-core", "numpy"} <= set(collected["versions"])
    assert collected["cpu_count"] >= 1
    assert set(collected["clock"]) == {"unix_s", "monotonic_s"}


def test_no_heavy_module_is_imported_for_a_version():
    code = (
        "import sys; from orchestrator.records import provenance; provenance.collect();"
        "print(sorted({'ray', 'mlflow', 'numpy', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.strip() == "[]"


def test_a_package_outside_a_checkout_has_no_git_state(tmp_path, monkeypatch):
    monkeypatch.setattr(orchestrator, "__file__", str(tmp_path / "orchestrator" / "__init__.py"))
    assert provenance.git_state.__wrapped__() is None


def test_a_checkout_says_its_commit_and_whether_files_changed(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("a")
    git("add", "file")
    git("commit", "-qm", "first")
    monkeypatch.setattr(orchestrator, "__file__", str(tmp_path / "orchestrator" / "__init__.py"))

    assert provenance.git_state.__wrapped__() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "file").write_text("b")
    assert provenance.git_state.__wrapped__()["dirty"] is True
