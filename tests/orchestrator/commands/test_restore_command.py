"""`restore`: what it says and does for every GPU that was left behind."""

import json

from collectors.control import Knobs, acquire, journal
from orchestrator.cli import main
from tests.collectors.control.guard_process import end_guard
from tests.fake_nvml.fake_gpus import Nvml
from tests.fake_nvml.layout import CallClass


def _left(gpus, folder):
    """Journals of a controller that nobody guarded: the first GPU still capped, the second set by an operator since."""
    with acquire([0, 1], state_dir=folder) as control:
        control.apply(Knobs(power_limit_w=400, sm_clock_mhz=900))
        texts = {uuid: journal.path_of(folder, uuid).read_text() for uuid in journal.uuids(folder)}
    end_guard(folder)
    for uuid, text in texts.items():
        journal.path_of(folder, uuid).write_text(text)
    gpus[0].set_power_limit(400)
    gpus[1].set_power_limit(555)


def _said(capsys):
    out = capsys.readouterr().out
    return out, json.loads(out.splitlines()[-1])


def test_it_says_for_every_gpu_what_was_found_and_done_and_a_second_time_does_nothing(
    fake_gpus, tmp_path, monkeypatch, capsys
):
    fake_gpus.load(monkeypatch)
    monkeypatch.setenv("JOULEGRID_STATE_DIR", str(tmp_path))
    _left(fake_gpus, tmp_path)
    assert main(["restore"]) == 0
    out, fields = _said(capsys)
    assert f"{fake_gpus[0].uuid}: power limit restored (found 400 W, before us 700 W); SM clock unlocked" in out
    assert f"{fake_gpus[1].uuid}: power limit left: somebody else has set it (found 555 W" in out
    assert [gpu.power_limit_w for gpu in fake_gpus[:2]] == [700, 555]
    assert (fields["command"], fields["exit_code"], fields["not_restored"]) == ("restore", 0, [])
    assert {each["uuid"]: each["undone"]["found_w"] for each in fields["gpus"]} == {
        fake_gpus[0].uuid: 400,
        fake_gpus[1].uuid: 555,
    }
    n_calls = len(fake_gpus.set_calls)
    assert main(["restore"]) == 0
    out, fields = _said(capsys)
    assert "nothing to restore" in out
    assert (fields["gpus"], len(fake_gpus.set_calls)) == ([], n_calls)


def test_a_gpu_that_is_lost_is_told_and_keeps_its_journal(fake_gpus, tmp_path, monkeypatch, capsys):
    fake_gpus.load(monkeypatch)
    _left(fake_gpus, tmp_path)
    fake_gpus[0].fail(CallClass.DEVICE, Nvml.GPU_IS_LOST)
    assert main(["restore", f"state_dir={tmp_path}"]) == 3
    out, fields = _said(capsys)
    assert (fields["not_restored"], fields["exit_code"]) == ([fake_gpus[0].uuid], 3)
    assert "gpu is lost" in out
    assert journal.uuids(tmp_path) == (fake_gpus[0].uuid,)


def test_a_gpu_in_use_is_left_to_its_controller(fake_gpus, tmp_path, monkeypatch, capsys):
    fake_gpus.load(monkeypatch)
    with acquire([0], state_dir=tmp_path) as control:
        control.apply(Knobs(power_limit_w=400))
        assert main(["restore", f"state_dir={tmp_path}"]) == 0
        assert fake_gpus[0].power_limit_w == 400
    assert [each["state"] for each in _said(capsys)[1]["gpus"]] == ["in use"]


def test_a_wrong_argument_or_setter_is_an_error(fake_gpus, tmp_path, monkeypatch, capsys):
    fake_gpus.load(monkeypatch)
    _left(fake_gpus, tmp_path)
    assert main(["restore", "everything"]) == 2
    assert main(["restore", "setter=magic", f"state_dir={tmp_path}"]) == 2
    assert "'magic' is not known" in _said(capsys)[0]
    assert fake_gpus[0].power_limit_w == 400
