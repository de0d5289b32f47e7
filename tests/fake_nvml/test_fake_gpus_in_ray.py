"""Ray detects the fake GPUs with its own pynvml, and its actors share their state."""

import json
import subprocess
import sys

import pytest

from tests.fake_nvml.fake_gpus import H200

pytestmark = pytest.mark.ray

PROGRAM = """
import json, logging, os, ray
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
         object_store_memory=100 * 2**20)

@ray.remote(num_cpus=0, num_gpus=2)
class Engine:
    def limit(self):
        import pynvml
        pynvml.nvmlInit()
        pynvml.nvmlDeviceSetPowerManagementLimit(pynvml.nvmlDeviceGetHandleByIndex(3), 450_000)
        return ray.get_runtime_context().get_accelerator_ids()["GPU"], os.environ["CUDA_VISIBLE_DEVICES"]

engine = Engine.remote()
resources = ray.cluster_resources()
print(json.dumps([resources["GPU"], [name for name in resources if name.startswith("accelerator_type")],
                  ray.nodes()[0]["Labels"].get("ray.io/accelerator-type"), *ray.get(engine.limit.remote())]))
ray.shutdown()
"""


def test_ray_detects_them_by_itself(make_fake_gpus, tmp_path):
    machine = make_fake_gpus([H200] * 4)
    env = {**machine.env, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path)}
    env.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    n_gpus, types, label, ids, visible = json.loads(ended.stdout.splitlines()[-1])
    assert (n_gpus, types, label) == (4, ["accelerator_type:H200"], "H200")
    assert len(ids) == 2
    assert ",".join(ids) == visible
    assert machine[3].power_limit_w == 450
