"""Cells on one local Ray, started once for the file."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import cell_functions
import psutil
import pytest
from cell_functions import DIES, DIES_ONCE, EXITS, FAILS, INFEASIBLE, UNPICKLABLE
from sample_sweeps import a_cell

from orchestrator.errors import CellError, EnvironmentFailure, InfeasibleCell, InfrastructureError
from orchestrator.lanes.executor import RayExecutor
from orchestrator.ray_runtime import workers
from orchestrator.ray_runtime.cluster import RayCluster
from orchestrator.ray_runtime.workers import CellWorker, Hello, WorkerPool
from orchestrator.spec.settings import ClusterSettings
from orchestrator.sweep.scheduler import FinishedCell, schedule

pytestmark = pytest.mark.ray


HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayExecutor]:
    executor = RayExecutor(ClusterSettings(num_workers=2), cell_functions.run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]))
        patch.setenv(cell_functions.SCRATCH, str(tmp_path_factory.mktemp("scratch")))
        patch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # the user's own cluster must not be joined
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        executor.start()
        try:
            yield executor
        finally:
            executor.close()


def _run(executor: RayExecutor, *repeats: int, max_attempts: int = 3) -> dict[int, FinishedCell]:
    cells = [a_cell(repeat=repeat) for repeat in repeats]
    return {each.cell.repeat: each for each in schedule(cells, executor, max_attempts=max_attempts)}


def test_cells_run_on_as_many_long_lived_workers_as_there_are_slots(executor):
    finished = _run(executor, *range(20))
    assert sorted(finished) == list(range(20))
    pids = {each.result.provenance["pid"] for each in finished.values()}
    assert len(pids) <= 2
    assert os.getpid() not in pids
    assert {a.host for each in finished.values() for a in each.attempts} == {socket.gethostname()}


def test_errors_of_a_cell_end_that_cell_and_keep_the_worker(executor):
    pids = {each.result.provenance["pid"] for each in _run(executor, 0, 1, 2, 3).values()}
    finished = _run(executor, FAILS, EXITS, INFEASIBLE, UNPICKLABLE, 4)
    assert {repeat: type(each.error) for repeat, each in finished.items()} == {
        FAILS: CellError,
        EXITS: CellError,
        INFEASIBLE: InfeasibleCell,
        UNPICKLABLE: CellError,
        4: type(None),
    }
    assert str(finished[FAILS].error).startswith("UsersOwnError: 1 and 2 (")
    assert "cell_functions.py:" in str(finished[FAILS].error)
    assert all(len(each.attempts) == 1 for each in finished.values())
    assert all(psutil.pid_exists(pid) for pid in pids)


def test_a_worker_killed_in_a_cell_is_replaced_and_the_cell_repeated(executor):
    finished = _run(executor, DIES_ONCE, 0, 1)
    attempts = finished[DIES_ONCE].attempts
    assert [(a.number, a.outcome, a.error_kind) for a in attempts] == [
        (1, "failed", "InfrastructureError"),
        (2, "ok", None),
    ]
    assert attempts[0].error.startswith(f"worker on {socket.gethostname()} (pid ")
    assert "\n" not in attempts[0].error


def test_a_cell_that_kills_every_worker_fails_and_the_others_do_not(executor):
    finished = _run(executor, DIES, 0, 1, 2, max_attempts=2)
    assert isinstance(finished[DIES].error, InfrastructureError)
    assert len(finished[DIES].attempts) == 2
    assert all(finished[repeat].result is not None for repeat in (0, 1, 2))


def test_another_version_on_a_node_is_named(executor, monkeypatch):
    monkeypatch.setattr(workers.orchestrator, "__version__", "9.9.9")
    with pytest.raises(EnvironmentFailure) as caught:
        workers.check_version(Hello(version="0.1.0", host="node-7", node="n", pid=1))
    assert str(caught.value) == (
        "node node-7 runs joulegrid 0.1.0, this process 9.9.9; install the same version on every node"
    )


def test_the_home_folder_and_the_callers_signal_handler_are_left_alone(executor):
    assert list(Path(os.environ["HOME"]).iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_closing_leaves_no_process_and_no_file(executor):
    processes = psutil.Process().children(recursive=True)
    temp_dir = executor._cluster.own.temp_dir
    assert len(processes) >= 4
    assert temp_dir.is_dir()
    executor.close()
    executor.close()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []
    assert not temp_dir.exists()


def test_a_worker_without_a_place_is_reported_with_the_reasons(executor):
    import ray

    executor.close()  # one Ray at a time in a process
    small = RayExecutor(ClusterSettings(num_workers=1, placement_timeout_s=0.5), cell_functions.run)
    try:
        small.start()
        holder = ray.remote(CellWorker).options(num_cpus=1).remote()
        ray.get(holder.hello.remote())
        small.submit(a_cell())
        with pytest.raises(EnvironmentFailure) as caught:
            small.wait(30)
        assert str(caught.value).startswith(
            "no worker was placed within 0.5 s at local: each needs 1 CPU, the cluster has 1, free are 0;"
        )
    finally:
        small.close()


@pytest.mark.parametrize("any_ready", [False, True])
def test_workers_that_never_start_are_given_up(any_ready):
    broken = WorkerPool(RayCluster(), 1, ClusterSettings(), cell_functions.run)
    broken._any_ready = any_ready
    broken._failed_starts = ["no space left"] * 3
    text = "3 workers in a row did not start: no space left"
    if not any_ready:
        broken.submit(a_cell())
        with pytest.raises(EnvironmentFailure, match=text):
            broken.take(())
        return
    for _ in range(2):  # the second attempt ends as fast
        broken.submit(a_cell())
        (outcome,) = broken.take(())
        assert isinstance(outcome.error, InfrastructureError)
        assert str(outcome.error) == text
