"""Calls on a lent GPU: which parts run, which are left for the next call, and which files are sent."""

import json
import random
import shutil
import sys
import time
from pathlib import Path

import pytest

from benchmarks.h200 import next as calls
from benchmarks.h200 import transfer
from benchmarks.h200.next import Call
from benchmarks.h200.parts import FIRST, NAMES, WAYS, Part, parts, way_named
from benchmarks.h200.progress import MAX_TRIES, PartProgress, Progress, read_progress, write_progress
from benchmarks.h200.run_part import EngineLogs
from benchmarks.h200.transfer import pack, pieces_in, unpack

PRINTS = "import json, sys; print('printed'); print(json.dumps({line})); sys.exit({code})"

WAITS = """import time
try:
    time.sleep(60)
except KeyboardInterrupt:
    print('{"pending": 3}')
    raise SystemExit(130)
"""


def part(name: str, line: dict[str, int], code: int = 0, **fields) -> Part:
    """A part that prints ``line`` at its end."""
    script = PRINTS.format(line=json.dumps(line), code=code)
    return Part(
        name=name, command=(sys.executable, "-c", script), **{"least_s": 0, "most_s": 60, "goes_on": True, **fields}
    )


@pytest.fixture
def planned(monkeypatch):
    """Parts in the place of the real ones; vLLM starts in the last way only."""
    made: dict[str, Part] = {}

    def of(folder, way, also=()):
        return (part(FIRST, {"ok": int(way == WAYS[-1])}, code=1, goes_on=False), *made.values())

    monkeypatch.setattr(calls, "parts", of)
    return made


def call(tmp_path: Path, limit_s: float = 60, **fields) -> Call:
    for name in ("runs", "out"):
        (tmp_path / name).mkdir(exist_ok=True)
    return Call(
        folder=tmp_path / "runs",
        out=tmp_path / "out",
        end_s=time.monotonic() + limit_s,
        before=calls.times_of(tmp_path / "runs"),
        **fields,
    )


def test_vllm_is_started_in_the_first_way_that_works(tmp_path, planned, capfd):
    planned["reference_8b"] = part("reference_8b", {"ok": 7, "failed": 0, "pending": 0})
    call(tmp_path).run()
    progress = read_progress(tmp_path / "runs")
    assert progress.way == WAYS[-1].name
    assert progress.of(FIRST).exit_codes == [1] * len(WAYS)
    assert progress.of("reference_8b").done
    assert "printed" in capfd.readouterr().out
    assert (tmp_path / "out" / "log.txt").read_text().count("printed") == len(WAYS) + 1


def test_without_vllm_only_the_sensor_is_looked_at(tmp_path, monkeypatch, capfd):
    never = part(FIRST, {"ok": 0, "failed": 1}, code=1, goes_on=False)
    rest = (part("sensor", {}, goes_on=False), part("bare", {}, goes_on=False))
    monkeypatch.setattr(calls, "parts", lambda *_: (never, *rest))
    call(tmp_path).run()
    progress = read_progress(tmp_path / "runs")
    assert (progress.way, progress.of("sensor").done, progress.of("bare").tries) == (None, True, 0)
    assert "bare: left out, vLLM has not started here" in capfd.readouterr().out


def test_a_sensor_that_was_measured_without_a_load_is_tried_again(tmp_path, planned):
    planned["sensor"] = part("sensor", {"load_missing": "torch cannot be imported"}, goes_on=False)
    call(tmp_path).run()
    tried = read_progress(tmp_path / "runs").of("sensor")
    assert (tried.exit_codes, tried.open) == ([0], True)


def test_cells_that_failed_are_tried_again_until_the_part_is_given_up(tmp_path, planned):
    planned["reference_8b"] = part("reference_8b", {"ok": 6, "failed": 1, "pending": 0}, code=1)
    planned["batch_h200"] = part("batch_h200", {"ok": 11, "invalid": 1, "failed": 0, "pending": 0}, code=1)
    for _ in range(MAX_TRIES + 1):
        call(tmp_path).run()
    progress = read_progress(tmp_path / "runs")
    assert (progress.of("reference_8b").tries, progress.of("reference_8b").open) == (MAX_TRIES, False)
    assert (progress.of("batch_h200").tries, progress.of("batch_h200").done) == (1, True)


def test_what_does_not_fit_is_stopped_as_by_ctrl_c_and_is_no_failure(tmp_path, planned):
    waits = (sys.executable, "-c", WAITS)
    planned["batch_h200"] = Part(name="batch_h200", command=waits, least_s=0, most_s=90, goes_on=True)
    planned["repeats"] = part("repeats", {}, least_s=30)
    call(tmp_path, limit_s=3).run()
    progress = read_progress(tmp_path / "runs")
    stopped = progress.of("batch_h200")
    assert (stopped.exit_codes, stopped.tries, stopped.open) == ([130], 0, True)
    assert progress.of("repeats").exit_codes == []


def test_a_part_that_hangs_is_stopped_and_counts_as_tried(tmp_path, planned):
    planned["bare"] = Part(name="bare", command=(sys.executable, "-c", WAITS), least_s=0, most_s=1, goes_on=False)
    call(tmp_path).run()
    hung = read_progress(tmp_path / "runs").of("bare")
    assert (hung.exit_codes, hung.tries, hung.done) == ([130], 1, False)


def test_what_is_new_comes_back_and_what_a_later_host_must_know_goes_there(tmp_path, planned, monkeypatch, capfd):
    old = tmp_path / "runs" / "runs" / "reference_8b-1" / "sweep.json"
    planned["sensor"] = part("sensor", {})
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    here = call(tmp_path)
    for name in ("cells/a/record.json", "cells/a/power.parquet", "lock"):
        path = old.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    here.run()
    assert pieces_in(tmp_path / "out")
    brought = tmp_path / "there" / "h200_runs"
    unpack(tmp_path / "out", brought)
    actual = {str(path.relative_to(brought)) for path in brought.rglob("*") if path.is_file()}
    assert actual == {
        "progress.json",
        "runs/reference_8b-1/cells/a/record.json",
        "runs/reference_8b-1/cells/a/power.parquet",
    }
    monkeypatch.chdir(brought.parent)
    Path(".h200").mkdir()
    transfer.carry_progress(Path("h200_runs"))
    assert "0.0 MiB; the host takes 64" in capfd.readouterr().out
    (Path(".h200") / "kit.tar.xz.00").write_bytes(b"0")
    monkeypatch.setattr(transfer, "_MAX_CARRIED_MIB", 1e-7)
    with pytest.raises(SystemExit, match="cannot be sent"):
        transfer.carry_progress(Path("h200_runs"))
    unpack(Path(".h200"), Path("next"))
    assert {path.name for path in Path("next").rglob("*") if path.is_file()} == {"progress.json", "record.json"}


def test_pieces_are_small_enough_and_make_the_whole_again(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "PIECE_BYTES", 1000)
    noise = random.Random(0).randbytes(2500)
    kept, out = tmp_path / "kept", tmp_path / "out"
    for folder in (kept, out):
        folder.mkdir()
    (kept / "a").write_bytes(b"a")
    (kept / "b").write_bytes(noise)
    (out / "h200.tar.gz.07").write_bytes(b"of an earlier call")
    pieces = pack(kept, [kept / "a", kept / "b"], out)
    assert [piece.name for piece in pieces] == ["h200.tar.gz.00", "h200.tar.gz.01", "h200.tar.gz.02"]
    assert max(piece.stat().st_size for piece in pieces) == 1000
    assert unpack(out, tmp_path / "again") == 2
    assert (tmp_path / "again" / "b").read_bytes() == noise
    with pytest.raises(FileNotFoundError, match=r"there is no h200\.tar\.gz"):
        unpack(kept, tmp_path / "nowhere")


def test_a_sweep_is_begun_once_and_resumed_from_then_on(tmp_path):
    def commands() -> dict[str, str]:
        return {each.name: " ".join(each.command) for each in parts(tmp_path, way_named("uncompiled"))}

    fresh = commands()
    assert tuple(fresh) == NAMES
    assert "resume" not in fresh["reference_8b"] + fresh["batch_h200"]
    (tmp_path / "runs" / "reference_8b-1").mkdir(parents=True)
    (tmp_path / "runs" / "reference_8b-1" / "sweep.json").write_text("{}")
    later = commands()
    assert "resume=latest extend=true" in later["reference_8b"]
    assert "resume=latest extend=true" in later["repeats"]
    assert "resume" not in later[FIRST] + later["batch_h200"]
    sweeps = {name: text for name, text in later.items() if "+sweep=" in text}
    assert set(sweeps) == {FIRST, "reference_8b", "batch_h200", "repeats"}
    assert later["sensor"].endswith(f"-m orchestrator doctor sensor out={tmp_path / 'sensor'}")
    for text in (*sweeps.values(), later["bare"]):
        assert "max_cudagraph_capture_size=512" in text
        assert "engine.enforce_eager=true" in text
    for text in sweeps.values():
        assert "engine=vllm" in text
        assert "power_limit" not in text
        assert "clock" not in text


def test_a_way_may_be_a_variable_of_the_engines_environment(tmp_path, monkeypatch, capfd):
    way = way_named("with the older model runner")
    (variable,) = way.env
    assert {each.env for each in parts(tmp_path, way)} == {(variable,)}
    shows = (sys.executable, "-c", f"import os; print('runner', os.environ.get('{variable[0]}'))")
    shown = Part(name=FIRST, command=shows, env=way.env, least_s=0, most_s=60, goes_on=False)
    monkeypatch.setattr(calls, "parts", lambda *_: (shown,))
    call(tmp_path).run()
    assert "runner 0" in capfd.readouterr().out


def test_the_log_of_an_engine_outlives_its_folder(tmp_path):
    engine = tmp_path / "tmp" / "joulegrid-vllm-1-2-3-abc"
    engine.mkdir(parents=True)
    with EngineLogs(tmp_path / "logs", tmp_path / "tmp"):
        (engine / "engine.log").write_text("loading\n")
    shutil.rmtree(engine)
    assert (tmp_path / "logs" / f"{engine.name}.log").read_text() == "loading\n"


def test_compact_records_leave_out_the_largest_series(tmp_path):
    cell = tmp_path / "h200_runs" / "runs" / "reference_8b-1" / "cells" / "a"
    cell.mkdir(parents=True)
    for name in ("record.json", "power.parquet", "iterations.parquet", "tokens.parquet", "scheduled.parquet"):
        (cell / name).write_text("{}")
    (tmp_path / "h200_runs" / "sensor").mkdir()
    (tmp_path / "h200_runs" / "sensor" / "sensor.json").write_text("{}")
    transfer.keep(tmp_path / "h200_runs", tmp_path / "data")
    actual = {path.name for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert actual == {"record.json", "power.parquet", "iterations.parquet", "sensor.json"}


@pytest.mark.parametrize("own", [None, "sensor"])
def test_a_host_that_is_still_held_goes_on_from_what_it_did_itself(tmp_path, monkeypatch, capsys, own):
    monkeypatch.chdir(tmp_path)
    earlier = Progress(way=WAYS[0].name, parts={"bare": PartProgress(done=True)})
    write_progress(tmp_path / "before", earlier)
    pack(tmp_path / "before", [tmp_path / "before" / "progress.json"], tmp_path / ".h200")
    if own is not None:
        write_progress(tmp_path / "h200_runs", Progress(way=WAYS[0].name, parts={own: PartProgress(done=True)}))
    monkeypatch.setattr(calls.Call, "run", lambda self: None)
    monkeypatch.setattr(sys, "argv", ["next", "--carried", ".h200", "--out", "out"])
    calls.main()
    assert set(read_progress(tmp_path / "h200_runs").parts) == {own or "bare"}


def test_a_call_in_which_vllm_never_started_ends_in_exit_1_and_where_to_look(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_progress(tmp_path / "h200_runs", Progress(parts={FIRST: PartProgress(tries=MAX_TRIES)}))
    monkeypatch.setattr(calls.Call, "run", lambda self: None)
    monkeypatch.setattr(sys, "argv", ["next", "--out", "out"])
    with pytest.raises(SystemExit, match=r"out/log\.txt and h200_runs/engine_logs"):
        calls.main()
    assert capsys.readouterr().out.split()[:2] == [FIRST, "open"]  # every call tries it again


def test_a_part_that_there_is_not_is_refused_with_those_there_are(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["next", "--out", "out", "--only", "refrence"])
    with pytest.raises(SystemExit) as refused:
        calls.main()
    assert refused.value.code == 2
    assert "reference_8b" in capsys.readouterr().err
