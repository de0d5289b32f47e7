"""cluster/head.sh and worker.sh: a cluster of two nodes on this machine, and the error if one cannot start."""

import subprocess
import time
from collections.abc import Mapping

import pytest
import yaml
from two_nodes import SCRIPTS, environment


def _run(script: str, *arguments: str, env: Mapping[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [str(SCRIPTS / script), *arguments], capture_output=True, text=True, env=dict(env), timeout=60, check=False
    )
    return done.returncode, done.stderr or done.stdout


@pytest.mark.parametrize(("script", "arguments"), [("head.sh", ()), ("worker.sh", ("head:6379",))])
def test_without_a_token_nothing_starts(script, arguments, tmp_path):
    code, output = _run(script, *arguments, env=environment(HOME=str(tmp_path)))
    assert code == 2
    assert output.startswith(f"{script}: no token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH")
    assert output.count("\n") == 1


@pytest.mark.parametrize("argument", ["", "head", "--num-cpus=1"])
def test_a_worker_needs_the_address_of_its_head(argument):
    code, output = _run("worker.sh", argument, env=environment(RAY_AUTH_TOKEN="x"))
    assert (code, output) == (
        2,
        f"worker.sh: the head's HOST:PORT comes first, got '{argument}' (cluster/worker.sh --help)\n",
    )


def test_a_missing_ray_is_named(tmp_path):
    code, output = _run("head.sh", env={"PATH": "/usr/bin:/bin", "RAY_AUTH_TOKEN": "x", "HOME": str(tmp_path)})
    assert code == 3
    assert "no ray command on PATH" in output


@pytest.mark.parametrize("script", ["head.sh", "worker.sh"])
def test_help_shows_the_usage(script):
    code, output = _run(script, "--help", env=environment())
    assert code == 0
    assert output.startswith(f"usage: RAY_AUTH_TOKEN=SECRET cluster/{script}")


@pytest.mark.parametrize("name", ["kuberay.yaml", "ray-cluster.yaml"])
def test_manifests_are_yaml_and_use_tokens(name):
    text = (SCRIPTS / name).read_text()
    assert isinstance(yaml.safe_load(text), dict)
    assert "mode: token" in text or "RAY_AUTH_MODE=token" in text


@pytest.mark.parametrize("script", ["head.sh", "worker.sh", "slurm.sbatch"])
def test_scripts_parse(script):
    subprocess.run(["bash", "-n", str(SCRIPTS / script)], check=True, timeout=20)


@pytest.mark.ray
@pytest.mark.slow
def test_cells_run_on_both_nodes(cluster):
    for _ in range(20):
        done = cluster.drive()
        nodes = set(done.stdout.split())
        if len(nodes) == 2:  # the second node joins a few seconds after the first
            break
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) == 8
    assert len(nodes) == 2


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "mode"), [({"RAY_AUTH_TOKEN": "wrong"}, "token"), ({"RAY_AUTH_MODE": "disabled"}, "disabled")]
)
def test_a_wrong_or_missing_token_is_one_line(cluster, changed, mode):
    began_s = time.monotonic()
    done = cluster.drive(**changed)
    assert done.returncode == 1
    assert done.stderr == (
        f"the Ray cluster at {cluster.address} refuses our token (RAY_AUTH_MODE is {mode}): set "
        "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token the cluster was started with\n"
    )
    assert time.monotonic() - began_s < 15  # Ray itself takes 20 s


@pytest.mark.ray
@pytest.mark.slow
def test_auto_joins_the_cluster_of_ray_address(cluster):
    done = cluster.drive("auto", RAY_ADDRESS=cluster.address)
    assert (done.returncode, len(done.stdout.split())) == (0, 8), done.stderr
