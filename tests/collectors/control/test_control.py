"""One controller in this process: settings, read-back, restoring and refusals."""

import errno
import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.control import Knobs, acquire, driver, journal
from collectors.control.lock import CONTROLLER, GpuLock
from collectors.control.undo import restore_all
from collectors.errors import ControlFailed, ControlRefused, GpuLost, NotPermitted, NotSupported, SetByOthers
from tests.collectors.control.guard_process import end_guard, wait_until
from tests.fake_nvml.fake_gpus import GIB, H100, FakeGpus, Nvml, SetKind
from tests.fake_nvml.layout import CallClass


def _states(gpus: FakeGpus) -> list[tuple[float, tuple[int, int] | None]]:
    return [(gpu.power_limit_w, gpu.locked_sm_clock_mhz) for gpu in gpus]


def _limits_set_mw(gpus: FakeGpus, index: int = 0) -> list[int]:
    """Return the limits that were set, without repetitions: a permission is tested by setting the present limit."""
    limits_mw = [each.values[0] for each in gpus.set_calls if each.kind is SetKind.LIMIT and each.gpu == index]
    return [now for before, now in zip([None, *limits_mw], limits_mw, strict=False) if now != before]


def test_limit_and_clock_are_set_read_back_and_restored(gpus, state_dir):
    gpus[1].set_power_limit(650)
    with acquire([gpus[1].uuid, gpus[2].uuid]) as control:
        applied = control.apply(Knobs(power_limit_w=400, sm_clock_mhz=1200))
        assert _states(gpus) == [(700, None), (400, (1200, 1200)), (400, (1200, 1200)), (700, None)]
        assert {gpu.uuid: (gpu.power_limit_w, gpu.sm_clock_mhz) for gpu in applied.gpus} == {
            gpus[1].uuid: (400, 1200),
            gpus[2].uuid: (400, 1200),
        }
        assert applied.setter == "nvml"
        assert set(journal.uuids(state_dir)) == {gpus[1].uuid, gpus[2].uuid}
    assert _states(gpus) == [(700, None), (650, None), (700, None), (700, None)]
    assert journal.uuids(state_dir) == ()


def test_none_restores_the_setting_before_and_leaves_nothing_to_undo(gpus, state_dir):
    gpus[0].set_power_limit(650)
    with acquire([0]) as control:
        control.apply(Knobs(power_limit_w=300, sm_clock_mhz=900))
        control.apply(Knobs(sm_clock_mhz=990))
        assert _states(gpus)[0] == (650, (990, 990))
        control.apply(Knobs(power_limit_w=350))
        assert _states(gpus)[0] == (350, None)
        applied = control.apply(Knobs())
        assert _states(gpus)[0] == (650, None)
        assert (applied.setter, applied.gpus[0].power_limit_w) == (None, 650)
        assert journal.uuids(state_dir) == ()
    assert _limits_set_mw(gpus) == [650_000, 300_000, 650_000, 350_000, 650_000]


def test_a_controller_that_sets_nothing_changes_nothing(gpus, state_dir):
    gpus.set_privileged(False)
    with acquire([0]) as control:
        assert control.apply(Knobs()).gpus[0].power_limit_w == 700
    assert gpus.set_calls == ()


def test_setting_the_present_limit_needs_no_journal(gpus, state_dir):
    with acquire([0]) as control:
        control.apply(Knobs(power_limit_w=700))
        assert journal.uuids(state_dir) == ()


def test_a_limit_that_an_operator_sets_meanwhile_stays(gpus):
    with acquire([0]) as control:
        control.apply(Knobs(power_limit_w=300))
        gpus[0].set_power_limit(555)
    assert gpus[0].power_limit_w == 555


def test_a_limit_that_an_operator_sets_between_two_cells_is_restored(gpus):
    with acquire([0]) as control:
        control.apply(Knobs(power_limit_w=300))
        gpus[0].set_power_limit(555)
        control.apply(Knobs(power_limit_w=310))
    assert gpus[0].power_limit_w == 555


def test_the_same_gpu_given_twice_is_one(gpus):
    with acquire([gpus[0].uuid, 0, gpus[0].uuid[:12]]) as control:
        assert [gpu.index for gpu in control.gpus] == [0]


def test_the_error_of_a_second_controller_names_the_first(gpus):
    with acquire([0, 1]), pytest.raises(SetByOthers) as refused:
        acquire([1, 2])
    assert f"pid {os.getpid()} on {socket.gethostname()}" in str(refused.value)
    acquire([1, 2]).close()


def test_a_full_disk_refuses_the_lock_and_keeps_no_file_open(gpus, tmp_path, monkeypatch):
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    n_open = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patched:
        patched.setattr("collectors.control.lock.os.pwrite", full)
        with pytest.raises(ControlRefused, match=f"the lock of GPU {gpus[0].uuid} in .* written: No space left"):
            GpuLock.take(tmp_path, gpus[0].uuid, CONTROLLER)
    assert len(list(Path("/proc/self/fd").iterdir())) == n_open
    GpuLock.take(tmp_path, gpus[0].uuid, CONTROLLER).release()


@pytest.mark.parametrize(
    ("knobs", "parts"),
    [
        (Knobs(power_limit_w=150), ("hardware.power_limit_w=150", "200 to 700 W", "hardware.power_limit_w=null")),
        (Knobs(power_limit_w=701), ("200 to 700 W",)),
        (Knobs(sm_clock_mhz=2000), ("hardware.sm_clock_mhz=2000", "210 to 1980 MHz", "hardware.sm_clock_mhz=null")),
    ],
)
def test_out_of_range_names_the_range_and_sets_nothing(gpus, knobs, parts):
    with acquire([0]) as control, pytest.raises(ControlRefused) as refused:
        control.apply(knobs)
    assert all(each in str(refused.value) for each in parts)
    assert gpus.set_calls == ()


def test_without_permission_one_line_says_what_would_grant_it(gpus, state_dir):
    gpus.set_privileged(False)
    with acquire([0]) as control, pytest.raises(NotPermitted) as refused:
        control.apply(Knobs(power_limit_w=400, sm_clock_mhz=900))
    message = str(refused.value)
    assert "\n" not in message
    for each in ("root", "CAP_SYS_ADMIN", "--cap-add SYS_ADMIN", "NOPASSWD: ", "nvidia-smi", "zeusd"):
        assert each in message
    assert "hardware.power_limit_w=null hardware.sm_clock_mhz=null" in message
    assert _states(gpus)[0] == (700, None)
    assert journal.uuids(state_dir) == ()


def test_a_gpu_without_a_limit_says_so(gpus):
    gpus[0].fail(CallClass.LIMIT_READ, Nvml.NOT_SUPPORTED)
    with acquire([0]) as control:
        with pytest.raises(NotSupported, match="no power limit that can be set"):
            control.apply(Knobs(power_limit_w=400))
        applied = control.apply(Knobs(sm_clock_mhz=900))
        assert (applied.gpus[0].power_limit_w, applied.gpus[0].sm_clock_mhz) == (None, 900)
    assert gpus[0].locked_sm_clock_mhz is None


def test_a_divided_gpu_is_refused(make_fake_gpus, state_dir, monkeypatch):
    machine = make_fake_gpus([replace(H100, mig_memory_bytes=(10 * GIB,)), H100])
    machine.load(monkeypatch)
    for wanted in (machine[0].uuid, machine[0].mig_uuids[0]):
        with pytest.raises(ControlRefused, match="MIG"):
            acquire([wanted])
    acquire([1]).close()


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_set(gpus, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ControlRefused, match=r"cannot be written.*JOULEGRID_STATE_DIR"):
        acquire([0], state_dir=tmp_path / "file")
    assert gpus.set_calls == ()


def test_a_limit_that_does_not_act_is_an_error_and_all_gpus_are_restored(gpus, state_dir, monkeypatch):
    monkeypatch.setattr(driver, "_TIMEOUT_S", 0.05)
    monkeypatch.setattr(driver, "enforced_limit_mw", lambda uuid: 350_000)
    with acquire([0, 1]) as control:
        with pytest.raises(ControlFailed, match=r"400 W.*enforced one 350 W"):
            control.apply(Knobs(power_limit_w=400, sm_clock_mhz=900))
        assert _states(gpus)[:2] == [(700, None)] * 2
        assert journal.uuids(state_dir) == ()


def test_a_setting_that_fails_on_one_gpu_restores_the_others(gpus, state_dir):
    first, second = sorted((gpus[0], gpus[1]), key=lambda gpu: gpu.uuid)
    second.fail(CallClass.CLOCK_SET, Nvml.UNKNOWN, times=1)
    with acquire([0, 1]) as control:
        with pytest.raises(Exception, match="unknown error"):
            control.apply(Knobs(power_limit_w=400, sm_clock_mhz=900))
        assert _states(gpus)[:2] == [(700, None)] * 2
        assert journal.uuids(state_dir) == ()
    assert first.power_limit_w == 700


def test_a_gpu_lost_while_restoring_keeps_its_journal_until_it_is_back(gpus, state_dir):
    control = acquire([0, 1])
    control.apply(Knobs(power_limit_w=400, sm_clock_mhz=900))
    gpus[0].fail(CallClass.DEVICE, Nvml.GPU_IS_LOST)
    with pytest.raises(ControlFailed, match=f"{gpus[0].uuid} was not restored.*restore"):
        control.close()
    assert _states(gpus)[1] == (700, None)
    assert journal.uuids(state_dir) == (gpus[0].uuid,)
    with pytest.raises(GpuLost):
        acquire([0])
    gpus[0].mend(CallClass.DEVICE)
    wait_until(lambda: journal.uuids(state_dir) == ())  # by the guard, which tries again
    assert _states(gpus)[0] == (700, None)


def test_a_damaged_journal_is_refused_and_the_gpu_left_alone(gpus, state_dir):
    with acquire([0]) as control:
        control.apply(Knobs(power_limit_w=400))
        text = journal.path_of(state_dir, gpus[0].uuid).read_text()
    end_guard(state_dir)
    gpus[0].set_power_limit(400)
    for damaged in (text[:-20], "", text.replace(gpus[0].uuid, gpus[1].uuid), "[]"):
        journal.path_of(state_dir, gpus[0].uuid).write_text(damaged)
        with pytest.raises(ControlFailed, match="damaged"):
            acquire([0])
        assert [each.state for each in restore_all()] == ["not restored"]
    assert gpus[0].power_limit_w == 400


@pytest.mark.parametrize(
    ("standing_w", "changes", "then_w"),
    [
        (400, {}, 650),
        (400.4, {}, 650),  # as the driver rounded it
        (300, {}, 650),  # the limit before the one that was being set
        (650, {}, 650),
        (555, {}, 555),  # an operator's
        (400, {"boot_id": "another"}, 400),
    ],
)
def test_replay_undoes_only_the_controllers_limit_of_this_boot(gpus, state_dir, standing_w, changes, then_w):
    with acquire([0]) as control:
        control.apply(Knobs(power_limit_w=400, sm_clock_mhz=900))
        left = json.loads(journal.path_of(state_dir, gpus[0].uuid).read_text())
    end_guard(state_dir)
    left |= {"before_mw": 650_000, "ours_mw": [300_000, 400_000], **changes}
    journal.path_of(state_dir, gpus[0].uuid).write_text(json.dumps(left))
    gpus[0].set_power_limit(standing_w)
    n_unlocks = sum(each.kind is SetKind.UNLOCK_SM for each in gpus.set_calls)
    with acquire([0]) as control:
        assert gpus[0].power_limit_w == then_w
        assert len(control.replayed) == 1
        assert control.replayed[0].clock_unlocked is not bool(changes)
    assert sum(each.kind is SetKind.UNLOCK_SM for each in gpus.set_calls) == n_unlocks + (not changes)
    assert journal.uuids(state_dir) == ()


def test_another_users_journal_is_not_acted_on(gpus, state_dir, monkeypatch):
    with acquire([0]) as control:
        control.apply(Knobs(power_limit_w=400))
        left = journal.path_of(state_dir, gpus[0].uuid).read_text()
    end_guard(state_dir)
    path = journal.path_of(state_dir, gpus[0].uuid)
    path.write_text(left)
    gpus[0].set_power_limit(400)
    monkeypatch.setattr(journal.os, "geteuid", lambda: 4242)
    with pytest.raises(SetByOthers, match=r"another user \(uid 0\)") as refused:
        acquire([0])
    assert str(path) in str(refused.value)
    assert gpus[0].power_limit_w == 400
    path.unlink()


def test_file_and_folder_of_the_journal_are_on_disk_before_the_setting(gpus, state_dir, monkeypatch):
    synced: list[tuple[str, float]] = []
    fsync = os.fsync

    def record(file: int) -> None:
        fsync(file)
        synced.append((Path(f"/proc/self/fd/{file}").readlink().name, gpus[0].power_limit_w))

    monkeypatch.setattr(os, "fsync", record)
    with acquire([0]) as control:
        control.apply(Knobs(power_limit_w=400))
    assert synced[:2] == [(f"{gpus[0].uuid}.new", 700), ("state", 700)]
