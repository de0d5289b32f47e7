import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from vllm_cells import a_cell, preset

from orchestrator.engines.vllm import check
from orchestrator.engines.vllm.options import Options
from orchestrator.errors import InfeasibleCell
from orchestrator.spec.cell import Cell


def test_arguments_of_vllm_are_kept_and_change_the_engine_key():
    plain, quantised = a_cell(), a_cell(kv_cache_dtype="fp8")
    assert isinstance(quantised.engine, Options)
    assert quantised.engine.passed_on == {"kv_cache_dtype": "fp8"}
    assert quantised.engine_key != plain.engine_key
    assert Cell.model_validate(quantised.canonical()) == quantised


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"dtype": "float16"}, "dtype: set model.dtype instead"),
        ({"seed": 1}, "seed: set seed instead"),
        ({"data_parallel_size": 2}, "data_parallel_size: cannot be set, because one engine is one replica"),
        ({"pipeline_parallel_size": 2}, "pipeline_parallel_size: set engine.tensor_parallel_size, the number of GPUs"),
        ({"prefill_context_parallel_size": 2}, "prefill_context_parallel_size: set engine.tensor_parallel_size"),
        ({"scheduler_cls": "mine.Scheduler"}, "scheduler_cls: cannot be set"),
        ({"natural_stops": True}, "natural_stops: needs a checkpoint"),
        ({"clock": "virtual"}, "clock"),
    ],
)
def test_an_argument_with_another_key_or_that_must_not_change_is_refused(argument, message):
    with pytest.raises(ValidationError, match=message):
        a_cell(**argument)


def test_the_shipped_group_has_the_fields_of_the_class():
    shipped = Options.model_validate(preset("engine", "vllm"))
    assert shipped.passed_on == {}
    assert set(preset("engine", "vllm")) == set(Options.model_fields) - {"clock"}


def test_a_cell_that_fits_is_accepted():
    check(a_cell())
    check(a_cell(hardware="h100_sxm", model="llama3_1_8b"))
    check(a_cell(tensor_parallel_size=2))  # on a CPU there are no GPUs to count


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"tensor_parallel_size": 3}, "tensor_parallel_size 3 must divide the 8 attention heads"),
        ({"tensor_parallel_size": 16, "hardware": "h100_sxm"}, "needs 16 GPUs on one node"),
        ({"model": "llama3_1_70b", "hardware": "h100_sxm"}, "needs 131.4 GiB of weights on each of 1 GPUs"),
    ],
)
def test_a_cell_that_cannot_start_is_refused_before_it_does(cell, message):
    with pytest.raises(InfeasibleCell, match=message):
        check(a_cell(**cell))


def test_weights_of_unknown_size_are_not_checked():
    check(a_cell(model="llama3_1_70b", hardware="h100_sxm", quantization="fp8"))
    check(a_cell(model="llama3_1_70b", hardware="h100_sxm", checkpoint="somebody/llama-70b-awq"))


def test_planning_a_cell_imports_neither_vllm_nor_torch():
    code = (
        "import sys; from vllm_cells import a_cell; from orchestrator.engines.vllm import build, check;"
        "cell = a_cell(); check(cell); from workflows.clock import MonotonicClock; build(cell, MonotonicClock());"
        "print(sorted({'vllm', 'torch'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
