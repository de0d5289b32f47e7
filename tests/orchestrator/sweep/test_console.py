"""The printed command is read back by Hydra as the settings it was made from."""

import shlex

import pytest

from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.spec.settings import ClusterSettings, Settings, TrackingSettings
from orchestrator.sweep.console import resume_command


def test_the_defaults_need_no_word():
    assert resume_command("s-1", Settings()) == "python -m orchestrator resume=s-1"


@pytest.mark.parametrize(
    "settings",
    [
        Settings(executor="inline", order="fewest_starts", max_attempts=5),
        Settings(tracking=TrackingSettings(enabled=False)),
        Settings(tracking=TrackingSettings(uri="http://host:5000", experiment="a (b)")),
        Settings(cluster=ClusterSettings(address="auto", num_workers=1)),
        Settings(cluster=ClusterSettings(address="10.0.0.1:6379", placement_timeout_s=7.5)),
        Settings(runs_dir="/data/my runs, é {1}=[2]"),
        Settings(runs_dir='it\'s "here"'),
        Settings(runs_dir="2026"),
        Settings(runs_dir="null"),
    ],
)
def test_what_is_printed_gives_the_same_settings(settings):
    words = shlex.split(resume_command("s-1", settings))
    assert words[:4] == ["python", "-m", "orchestrator", "resume=s-1"]
    expansion = compose(words[3:])
    assert expansion is not None
    assert build(expansion)[1] == settings.model_copy(update={"resume": "s-1"})


def test_a_password_is_not_printed():
    settings = Settings(tracking=TrackingSettings(uri="postgresql://me:secret@host/db"))
    assert "secret" not in resume_command("s-1", settings)
