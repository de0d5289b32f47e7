"""What a contest on the GPU is asked, keeps and tells, without an engine."""

import json
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pyarrow as pa
import pytest

from benchmarks.h200 import bare
from benchmarks.lane_contest import contest_rows
from tests.fake_nvml.driven_sweep import PRESETS, ROOT
from tests.fake_nvml.fake_gpus import SENSED_H200

ROUNDS = [{"bare": 8000.0, "local": 7990.0, "ray": 7920.0}, {"bare": 8100.0, "local": 8090.0, "ray": 8019.0}]


@pytest.fixture
def contested(monkeypatch):
    """The cells and time limit of a contest of two rounds."""
    requested = SimpleNamespace(rounds=list(ROUNDS))

    class Contest:
        bare = SimpleNamespace(start_s=61.4)
        lane = SimpleNamespace(engine_start_s=48.6, provenance={"vllm": "0.26.0"})

        def __init__(self) -> None:
            self.rounds = []
            power = pa.table({"t_s": [0.1, 0.2, 0.3]})
            reason = SimpleNamespace(code="foreign_process")
            self.results = [SimpleNamespace(series={"power": power}, reasons=(reason,))]

        def run(self, n, after_round):
            for each in requested.rounds[:n]:
                self.rounds.append(each)
                after_round()

    @contextmanager
    def lane_contest(cells, limit_s):
        requested.cells, requested.limit_s = cells, limit_s
        yield Contest()

    monkeypatch.setattr(bare, "lane_contest", lane_contest)
    return requested


def test_two_engines_fit_on_one_gpu_and_the_lane_is_sampled(contested, tmp_path):
    overrides = ("+engine.attention_backend=TRITON_ATTN", "model.max_model_len=4096")
    bare.main(["--out", str(tmp_path), "--max-num-seqs", "32", *overrides])
    cell = contested.cells["ray"]
    assert (cell.hardware.name, cell.model.name) == ("NVIDIA H200", "meta-llama/Llama-3.1-8B-Instruct")
    assert cell.model.max_model_len == 4096
    assert cell.engine.gpu_memory_utilization < 0.5
    assert (cell.engine.max_num_seqs, cell.load.users, cell.load.num_workflows) == (32, 32, 192)
    assert cell.collectors.power == "nvml"
    assert cell.engine.passed_on == {"attention_backend": "TRITON_ATTN"}
    assert contested.limit_s < 240


def test_the_results_are_stored_and_shown(contested, tmp_path):
    bare.main(["--out", str(tmp_path / "bare")])
    results = json.loads((tmp_path / "bare" / "bare.json").read_text())
    assert (results["rounds"], results["power_samples"], results["reasons"]) == (ROUNDS, [3], ["foreign_process"])
    section = bare.bare_section(results)
    assert (
        "192 requests of 232 prompt and\n256 output tokens by 64 users per run, 2 rounds\nafter a discarded one"
        in section
    )
    assert "vLLM\n0.26.0, meta-llama/Llama-3.1-8B-Instruct, " in section
    assert "sampled, 3 to 3 times per cell" in section
    assert "took 61 s to start, the lane's, which started second,\n49 s." in section
    assert section.endswith("\n".join(contest_rows(ROUNDS)))


def test_a_contest_without_a_round_fails(contested, tmp_path):
    contested.rounds.clear()
    with pytest.raises(SystemExit, match="no time"):
        bare.main(["--out", str(tmp_path)])


PROGRAM = """
import json, os, sys
from benchmarks import lane_contest
from tests.fake_nvml.fake_gpus import GIB, FakeGpus

class Bare:
    start_s = 1.0
    def __init__(self, cell, limit_s):
        FakeGpus.of_environment()[0].hold_memory(os.getpid(), 60 * GIB, lives_with_pid=True)
    def run(self, repeat):
        return 100.0
    def close(self):
        pass

lane_contest.BareProcess = Bare
with lane_contest.lane_contest(lane_contest.contest_cells(*sys.argv[1:]), 100.0) as contest:
    contest.run(1)
told = [[each.series["power"].num_rows, [reason.code for reason in each.reasons]] for each in contest.results]
ended = [each.end for each in contest.executor.lanes()]
print(json.dumps([contest.rounds, told, contest.lane.devices, ended]))
"""


@pytest.mark.ray
@pytest.mark.exhaustive
def test_a_lane_shares_its_gpu_with_another_engine(make_fake_gpus, tmp_path):
    machine = make_fake_gpus([SENSED_H200])
    cell = ("engine=driven", "hardware=h200_sxm", "collectors=nvml", "workflow=token_grid", "load.users=4")
    lengths = ("workflow.prompt_tokens.tokens=64", "workflow.output_tokens.tokens=64", "load.num_workflows=64")
    command = [sys.executable, "-c", PROGRAM, "--config-dir", str(PRESETS), *cell, *lengths]
    env = {**machine.env, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=150)
    assert ended.returncode == 0, ended.stderr
    (rounds,), measured, devices, ends = json.loads(ended.stdout.splitlines()[-1])
    assert rounds.keys() == {"bare", "local", "ray"}
    assert devices == [machine[0].uuid]
    assert all(n_samples > 2 for n_samples, _ in measured)
    assert {reason for _, reasons in measured for reason in reasons} == {"foreign_process"}
    assert ends == ["the sweep ended"]
