"""What the documentation says is true: commands compose, the metrics table is the code's, the example works."""

import re
import shlex
from pathlib import Path

import pytest

from docs.draw_architecture import packages, table
from orchestrator.cli import main
from orchestrator.records.metrics import METRICS, as_markdown

ROOT = Path(__file__).parent.parent
PAGES_ELSEWHERE = ("cluster", "workflows/data", "benchmarks/data/h200")
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.partition("#")[0].strip()
    for line in re.findall(r"^python -m orchestrator (.*)$", README.replace("\\\n", ""), flags=re.MULTILINE)
    if "--" not in line
]


def test_the_metrics_page_is_the_table():
    assert (ROOT / "docs" / "metrics.md").read_text() == as_markdown()
    assert len({metric.key for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_composes(command: str, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [argument for argument in shlex.split(command) if argument != "plan"]
    assert main(["plan", *arguments]) == 0
    assert '"command": "plan"' in capsys.readouterr().out.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_every_link_of_a_page_leads_to_a_file():
    for page in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / name / "README.md" for name in PAGES_ELSEWHERE),
    ]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_architecture_page_lists_the_packages_as_they_are():
    assert table(packages()) in (ROOT / "ARCHITECTURE.md").read_text(), "run `make architecture`"


def test_the_workflow_of_the_extending_page_runs(capsys, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "extending.md").read_text()
    code, preset = re.findall(r"```(?:python|yaml)\n(.*?)```", page, flags=re.DOTALL)
    for name, text in (("my_flows/two_opinions.py", code), ("mine/workflow/two_opinions.yaml", preset)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    options = ("executor=inline", "tracking=none", "load.num_workflows=10", "protocol.min_window_s=0")
    assert main(["--config-dir", "mine", "workflow=two_opinions", *options]) == 0
    assert '"ok": 1' in capsys.readouterr().out.splitlines()[-1]
