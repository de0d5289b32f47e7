"""Work of the scheduler's rows, against values computed by hand."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from orchestrator.attribution.work import TERMS, members_of, work_of
from orchestrator.costmodel.work import Batch, ModelWork
from orchestrator.records.series import SCHEDULED
from orchestrator.spec.model import ModelSpec

MODELS = Path(__file__).parents[3] / "conf" / "model"


def _scheduled(*rows):
    return pa.table(list(map(list, zip(*rows, strict=True))), schema=SCHEDULED)


def _members(n_iterations, *rows, ids=("a", "b"), first_row=0):
    return members_of(_scheduled(*rows), pa.chunked_array([list(ids)]), np.array(n_iterations), first_row)


def test_a_prompt_attends_to_what_is_before_it_and_to_itself():
    members = _members([1], (0, "a", 3, 1, 10))
    assert members.is_prefill.tolist() == [True]
    assert members.tokens.tolist() == [3]
    assert members.sampled.tolist() == [1]
    assert members.read_tokens.tolist() == [13]
    assert members.pairs.tolist() == [11 + 12 + 13]


def test_a_run_of_decoding_is_the_sum_of_its_iterations():
    run = _members([3], (0, "a", 0, 3, 10))
    single = _members([1, 1, 1], (0, "a", 0, 1, 10), (1, "a", 0, 1, 11), (2, "a", 0, 1, 12))
    for name in ("tokens", "sampled", "read_tokens", "pairs"):
        assert getattr(run, name).sum() == getattr(single, name).sum()
    assert run.read_tokens.tolist() == [11 + 12 + 13]


def test_requests_have_their_rows_and_unknown_ones_have_none():
    members = _members([1, 1], (5, "b", 0, 1, 1), (6, "warm-up", 1, 0, 0), (6, None, 1, 0, 0), first_row=5)
    assert members.request.tolist() == [1, -1, -1]
    assert members.run.tolist() == [0, 1, 1]


@pytest.mark.parametrize(("model", "n_gpus"), [("llama3_1_8b", 1), ("llama3_1_70b", 4), ("qwen3_30b_a3b", 2)])
def test_work_is_that_of_the_batch_and_adds_up(model, n_gpus):
    spec = ModelSpec.model_validate(yaml.safe_load((MODELS / f"{model}.yaml").read_text()))
    work_on_gpu = ModelWork(spec, n_gpus)
    members = _members([1], (0, "a", 100, 1, 50), (0, "b", 0, 1, 900))
    work = work_of(work_on_gpu, members, np.array([1.0]), np.array([0.02]))
    batch = Batch(n_tokens=101, n_sampled=2, context_tokens=150 + 901, n_pairs=100 * 50 + 5050 + 901)
    total = dict(zip(TERMS, work.total[0], strict=True))
    assert total["seconds"] == pytest.approx(0.02 * n_gpus)
    assert total["bytes"] == pytest.approx(
        n_gpus
        * (
            work_on_gpu.weight_bytes
            + work_on_gpu.expert_bytes(101)
            + batch.context_tokens * work_on_gpu.kv_bytes_per_token
        )
    )
    assert total["flops"] == pytest.approx(
        n_gpus
        * (
            batch.n_tokens * (work_on_gpu.flops_per_token + work_on_gpu.expert_flops_per_token)
            + batch.n_sampled * work_on_gpu.flops_per_sample
            + batch.n_pairs * work_on_gpu.flops_per_pair
        )
    )
    assert total["samples"] == 2 * n_gpus
    np.testing.assert_allclose(work.shared + work.own.sum(axis=0), work.total)
