"""What vLLM is started with."""

import os
from unittest import mock

import pytest
from vllm_cells import a_cell

from orchestrator.engines.vllm.arguments import set_environment


@pytest.mark.parametrize(
    ("before", "after"), [({}, "PCI_BUS_ID"), ({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, "FASTEST_FIRST")]
)
def test_cuda_counts_gpus_as_ray_and_nvml_do_unless_the_user_says_otherwise(before, after):
    with mock.patch.dict(os.environ, before, clear=True):
        set_environment(a_cell())
        assert os.environ["CUDA_DEVICE_ORDER"] == after
